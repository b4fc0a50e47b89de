/** Three spaces between columns, as kubectl's printer. */
const gap = '   ';

export type Row = readonly string[];

/** Columns as wide as their widest cell, the last one unpadded. Control characters are made visible, so that no text from afar can steer the terminal. */
export function renderTable(headers: Row, rows: readonly Row[], options: { noHeaders?: boolean; indent?: string } = {}): string {
  const writer = new TableWriter(headers, rows);
  const lines = options.noHeaders ? [] : [writer.line(headers)];
  return [...lines, ...rows.map((row) => writer.line(row))].map((line) => `${options.indent ?? ''}${line}\n`).join('');
}

/** Keeps the widths of the first rows for those that come later (`--watch`). */
export class TableWriter {
  readonly #widths: number[];

  /** `least`: widths that later rows may need. */
  constructor(headers: Row, rows: readonly Row[], least: readonly number[] = []) {
    this.#widths = headers.map((header, at) =>
      rows.reduce((widest, row) => Math.max(widest, printable(row[at] ?? '').length), Math.max(header.length, least[at] ?? 0)),
    );
  }

  line(row: Row): string {
    return row
      .map((cell, at) => (at === row.length - 1 ? printable(cell) : printable(cell).padEnd(this.#widths[at] ?? 0)))
      .join(gap)
      .trimEnd();
  }
}

/** The text with its control characters (C0, DEL, C1) escaped. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (char) => {
    if (char === '\n') return '\\n';
    return char === '\t' ? '\\t' : `\\x${char.codePointAt(0)!.toString(16).padStart(2, '0')}`;
  });
}

/** kubectl's word for an empty cell. */
export function orNone(text: string): string {
  return text === '' ? '<none>' : text;
}

/** The first `most` items and how many more there are. */
export function list(items: readonly string[], most = Number.POSITIVE_INFINITY): string {
  if (items.length === 0) return '<none>';
  const shown = items.slice(0, most).join(',');
  return items.length > most ? `${shown} + ${items.length - most} more...` : shown;
}

export function labelText(labels: Readonly<Record<string, string>>): string {
  return list(Object.entries(labels).map(([key, value]) => `${key}=${value}`));
}
