import { printable, type Row, renderTable } from './table.ts';

export interface DescribedTable {
  headers: Row;
  rows: readonly Row[];
}

/** As `kubectl describe` lays it out: a label, then one value, several lines, a table, or a block of text as it is. */
export type Description = readonly (readonly [label: string, value: string | readonly string[] | DescribedTable | { text: string }])[];

const indent = '  ';

export function renderDescription(description: Description): string {
  const width = Math.max(...description.map(([label, value]) => (isInline(value) ? label.length + 1 : 0))) + 2;
  return description.map(([label, value]) => renderField(label, value, width)).join('');
}

function renderField(label: string, value: Description[number][1], width: number): string {
  if (isInline(value)) {
    const lines = typeof value === 'string' ? [value] : value.length === 0 ? ['<none>'] : value;
    return lines
      .map((text, at) => `${`${at === 0 ? `${label}:` : ''}`.padEnd(width)}${printable(text === '' ? '<none>' : text)}\n`)
      .join('');
  }
  if ('text' in value) return `${label}:\n${indentText(value.text)}`;
  return value.rows.length === 0 ? `${label}:  <none>\n` : `${label}:\n${renderTable(value.headers, value.rows, { indent })}`;
}

function isInline(value: Description[number][1]): value is string | readonly string[] {
  return typeof value === 'string' || Array.isArray(value);
}

function indentText(text: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((part) => `${indent}${printable(part)}\n`)
    .join('');
}
