/**
 * JSON in its one canonical spelling: keys sorted by their UTF-16 units as `<` has them, no white space, absent fields left out, and nothing but printable ASCII: whatever a program
 * between here and there does to other characters, it does not touch these. For plain data: objects, arrays, text, whole numbers, booleans.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'string') return textOf(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields: string[] = [];
  for (const key of Object.keys(value).sort()) {
    const field = (value as Record<string, unknown>)[key];
    if (field !== undefined) fields.push(`${textOf(key)}:${canonicalJson(field)}`);
  }
  return `{${fields.join(',')}}`;
}

const odd = /[^ -~]/;

function textOf(text: string): string {
  const json = JSON.stringify(text);
  return odd.test(json) ? json.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`) : json;
}
