import type { Fault } from '../errors/index.ts';

/** Keys and indexes from the root of a document to a value. */
export type Path = readonly PropertyKey[];

export interface Position {
  /** 1-based. */
  line: number;
  column: number;
}

export interface Place {
  value: Position;
  /** Where the key stands, for what lies in a mapping. */
  key?: Position;
  /** As it is written, for a plain scalar that YAML reads as something else than text: `0x12`, `1e5`, `true`. */
  text?: string;
}

/** `spec.outputs[0].chain`; keys that are no plain words are quoted: `metadata.labels["a/b"]`. */
export function formatPath(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    const key = String(part);
    if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(key)) return `${text}[${JSON.stringify(key)}]`;
    return text === '' ? key : `${text}.${key}`;
  }, '');
}

/** Knows where each value of one document stands in its file, and so turns a path into a fault with line and column. */
export class SourceMap {
  readonly file: string;
  readonly #places: ReadonlyMap<string, Place>;
  readonly #root: Path;

  constructor(file: string, places: ReadonlyMap<string, Place>, root: Path = []) {
    this.file = file;
    this.#places = places;
    this.#root = root;
  }

  /** The map of a part of the document, by paths from there on. */
  within(path: Path): SourceMap {
    return new SourceMap(this.file, this.#places, [...this.#root, ...path]);
  }

  /** Where the value at the path stands; for a value that is missing, the key of the nearest thing around it that is there. */
  locate(path: Path, prefer: 'value' | 'key' = 'value'): Position {
    const whole = [...this.#root, ...path];
    const exact = this.#places.get(formatPath(whole));
    if (exact !== undefined) return prefer === 'key' ? (exact.key ?? exact.value) : exact.value;
    for (let length = whole.length - 1; length >= 0; length--) {
      const place = this.#places.get(formatPath(whole.slice(0, length)));
      if (place !== undefined) return place.key ?? place.value;
    }
    return { line: 1, column: 1 };
  }

  /** How a number, truth value or null was written; undefined for all else, and where nothing is. */
  textAt(path: Path): string | undefined {
    return this.#places.get(formatPath([...this.#root, ...path]))?.text;
  }

  fault(path: Path, message: string, prefer: 'value' | 'key' = 'value'): Fault {
    const field = formatPath([...this.#root, ...path]);
    return { field, message, file: this.file, ...this.locate(path, prefer) };
  }
}
