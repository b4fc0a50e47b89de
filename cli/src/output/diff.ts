import { createTwoFilesPatch } from 'diff';

/** One object before and after, as canonical YAML; empty where it does not exist. */
export interface ObjectChange {
  kind: string;
  name: string;
  before: string;
  after: string;
}

/** A unified diff with three lines of context; empty when nothing differs. */
export function unifiedDiff({ kind, name, before, after }: ObjectChange): string {
  if (before === after) return '';
  const path = `${kind.toLowerCase()}/${name}`;
  const patch = createTwoFilesPatch(`live/${path}`, `merged/${path}`, before, after, undefined, undefined, { context: 3 });
  // The library begins with a ruler of its own.
  return `diff -u live/${path} merged/${path}\n${patch.slice(patch.indexOf('--- '))}`;
}
