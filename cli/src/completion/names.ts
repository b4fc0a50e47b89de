/** Which names can stand at the cursor: the scripts hand over the words of the line, and the coordinator or the contexts file is asked. */
import type { CompletionNode, CompletionOption, NameSource } from './tree.ts';

/** What the words before the cursor say. */
export interface Cursor {
  node: CompletionNode;
  /** Arguments of the command, complete ones. */
  positionals: string[];
  /** Set when the cursor is at this option's value. */
  option: CompletionOption | undefined;
  /** Values of the options before, by the long flag. */
  values: Readonly<Record<string, string>>;
  current: string;
}

/** The last word is the one that is being typed. undefined: no command is known by these words. */
export function cursorOf(tree: readonly CompletionNode[], words: readonly string[]): Cursor | undefined {
  let node = tree.find(({ path }) => path === '');
  const positionals: string[] = [];
  const values: Record<string, string> = {};
  let pending: CompletionOption | undefined;
  for (const word of words.slice(0, -1)) {
    if (pending) {
      values[longOf(pending)] = word;
      pending = undefined;
    } else if (word.startsWith('-')) {
      const [flag = '', value] = word.split('=', 2);
      const option = node?.options.find(({ flags }) => flags.includes(flag));
      if (option?.takesValue && value === undefined) pending = option;
      else if (option && value !== undefined) values[longOf(option)] = value;
    } else {
      const path = node?.path ? `${node.path} ${word}` : word;
      const next = positionals.length === 0 ? tree.find((one) => one.path === path) : undefined;
      if (next) node = next;
      else positionals.push(word);
    }
  }
  return node && { node, positionals, option: pending, values, current: words.at(-1) ?? '' };
}

function longOf({ flags }: CompletionOption): string {
  return flags.find((flag) => flag.startsWith('--')) ?? flags[0] ?? '';
}

/** What is to be listed, and what stands before each name. undefined: names are of no use here. */
export interface WantedNames {
  source: NameSource | { type: string };
  prefix: string;
}

export function wantedNames({ node, positionals, option, current }: Cursor): WantedNames | undefined {
  if (option) return option.names && { source: option.names, prefix: '' };
  if (!node.names) return undefined;
  const { source, variadic } = node.names;
  if (source === 'typed') return typedNames(positionals, current);
  if (source === 'target') return positionals.length === 0 ? { source: 'nodes', prefix: 'node/' } : typedNames(positionals, current);
  return variadic || positionals.length === 0 ? { source, prefix: '' } : undefined;
}

/** `TYPE NAME…` or `TYPE/NAME…`. */
function typedNames([first]: readonly string[], current: string): WantedNames | undefined {
  if (first !== undefined && !first.includes('/')) return { source: { type: first }, prefix: '' };
  const slash = current.indexOf('/');
  return slash < 0 ? undefined : { source: { type: current.slice(0, slash) }, prefix: current.slice(0, slash + 1) };
}

const most = 1000;
/** Nothing that a shell could take for more than a word. */
const plain = /^[A-Za-z0-9][A-Za-z0-9._:/-]*$/;

/** The names that go on from what has been typed, without those that stand on the line already. */
export function matching({ positionals, current }: Cursor, names: readonly string[], prefix: string): string[] {
  const candidates = new Set(names.map((name) => `${prefix}${name}`));
  return [...candidates]
    .filter((name) => plain.test(name) && name.startsWith(current) && !positionals.includes(name))
    .sort()
    .slice(0, most);
}
