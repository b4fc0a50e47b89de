/** C0 (but for line feed and tab), DEL, C1, line and paragraph separators, and the marks that turn the direction of writing. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are meant
const unfit = /[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/**
 * Text that can be shown in a terminal without steering it: characters that would are written as `\u001b`, which JSON and YAML read as the same character where they quote it.
 * Line feeds and tabs stay.
 */
export function visible(text: string): string {
  return text.replace(unfit, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same on one line. */
export function visibleLine(text: string): string {
  return visible(text).replaceAll('\n', '\\n');
}
