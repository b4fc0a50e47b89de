/** Something that the person at the terminal should hear of. */
export interface Notice {
  timeMs: number;
  level: 'info' | 'warn';
  message: string;
}

export type Notify = (level: Notice['level'], message: string) => void;
