import { stripVTControlCharacters } from 'node:util';

/** The few terminal sequences in use (ECMA-48; alternate screen: xterm). */
export const ansi = {
  enter: '\x1b[?1049h\x1b[?25l',
  leave: '\x1b[?25h\x1b[?1049l',
  home: '\x1b[H',
  clearLine: '\x1b[K',
  clearBelow: '\x1b[J',
};

export const colours = { red: 31, green: 32, yellow: 33, cyan: 36, dim: 2, bold: 1 } as const;
export type Colour = keyof typeof colours;

export type Paint = (colour: Colour, text: string) => string;

export const withColour: Paint = (colour, text) => (text === '' ? '' : `\x1b[${colours[colour]}m${text}\x1b[0m`);
export const withoutColour: Paint = (_colour, text) => text;

const colourSequence = new RegExp(`(${String.fromCharCode(27)}\\[[0-9;]*m)`);

/** Columns that a text takes: all characters in use here are one column wide. */
export function widthOf(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}

/** Fills up with spaces, or cuts and ends with `…`. For text without colour. */
export function fit(text: string, width: number): string {
  const characters = [...text];
  if (characters.length <= width) return text + ' '.repeat(width - characters.length);
  return width < 1 ? '' : `${characters.slice(0, width - 1).join('')}…`;
}

/** Cuts a coloured line at so many columns, without cutting a sequence in two. */
export function clip(line: string, columns: number): string {
  if (widthOf(line) <= columns) return line;
  let shown = 0;
  let result = '';
  for (const part of line.split(colourSequence)) {
    if (part.startsWith('\x1b[')) {
      result += part;
      continue;
    }
    const piece = [...part].slice(0, columns - shown);
    shown += piece.length;
    result += piece.join('');
  }
  return result;
}
