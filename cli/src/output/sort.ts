import { usageError } from '../errors.ts';

/** A field's path as kubectl takes it: `.metadata.name` or `{.metadata.name}`. */
export function parsePath(text: string): string[] {
  const match = /^\{?\.?([A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)\}?$/.exec(text);
  if (!match) throw usageError(`--sort-by takes a field's path as .metadata.name or .status.notAfter, got "${text}"`);
  return match[1]!.split('.');
}

/** Sorts by a field of the objects' JSON form; what lacks it comes last. InvalidArgument when nothing has it. */
export function sortByPath<T>(items: readonly T[], toObject: (item: T) => object, path: readonly string[]): T[] {
  const keyed = items.map((item) => ({ item, key: valueAt(toObject(item), path) }));
  if (items.length > 0 && keyed.every(({ key }) => key === undefined)) {
    throw usageError(`--sort-by: nothing listed has the field .${path.join('.')}: look at -o json for what there is`);
  }
  return keyed.sort((a, b) => compareKeys(a.key, b.key)).map(({ item }) => item);
}

type Key = number | string | undefined;

function valueAt(object: unknown, path: readonly string[]): Key {
  const value = path.reduce<unknown>(
    (at, part) => (typeof at === 'object' && at !== null && Object.hasOwn(at, part) ? at[part as never] : undefined),
    object,
  );
  if (value instanceof Date) return value.getTime();
  return typeof value === 'number' || typeof value === 'string' ? value : typeof value === 'boolean' ? Number(value) : undefined;
}

function compareKeys(a: Key, b: Key): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a).localeCompare(String(b), 'en', { numeric: true });
}
