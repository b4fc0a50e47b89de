import { EvercertError } from '../errors/index.ts';

/** What is wrong with an archive; nothing of it is to be used. */
export function damaged(why: string, cause?: unknown): EvercertError {
  return new EvercertError('DataLoss', `the backup is refused: ${why}; take another copy of it, or an older backup`, {
    ...(cause !== undefined && { cause }),
  });
}
