import type { Command, Option } from 'commander';
import { resources } from '../resources/index.ts';

/** One command of the tree, as a completion script needs it. */
export interface CompletionNode {
  /** Names from the root, without it: `token create`. Empty for the root. */
  path: string;
  description: string;
  subcommands: { name: string; description: string }[];
  options: CompletionOption[];
  /** Words that may stand as its first argument. */
  words: string[];
  /** Names of objects that its arguments are. */
  names?: { source: NameSource | 'typed' | 'target'; variadic: boolean };
}

/** Where names come from: the coordinator's objects, or the contexts file. */
export type NameSource = 'nodes' | 'clusters' | 'tokens' | 'replacements' | 'contexts';

/** The hidden command that scripts ask for names. */
export const nameCommand = '__complete';

/** What arguments are, by their names in the usage: `typed` follows a type, `target` is node/NAME. */
const argumentNames: Readonly<Record<string, NameSource | 'typed' | 'target'>> = {
  type: 'typed',
  target: 'target',
  nodes: 'nodes',
  cluster: 'clusters',
  id: 'tokens',
  replacements: 'replacements',
  context: 'contexts',
};

const optionNames: Readonly<Record<string, NameSource>> = {
  '--cluster': 'clusters',
  '--node': 'nodes',
  '--context': 'contexts',
};

export interface CompletionOption {
  /** `--output`, `-o`. */
  flags: string[];
  description: string;
  takesValue: boolean;
  choices: readonly string[];
  /** Its value is a file or folder. */
  takesPath: boolean;
  /** Its value is the name of an object. */
  names?: NameSource;
}

const pathPlaceholders = /<(?:file|folder|dir)/;

/** The commands below (and with) this one, the root first. */
export function completionTree(program: Command): CompletionNode[] {
  return walk(program, [], []);
}

function walk(command: Command, path: readonly string[], inherited: readonly CompletionOption[]): CompletionNode[] {
  const options = [...command.options.filter((option) => !option.hidden).map(optionOf), help, ...inherited];
  const children = command.commands.filter((child) => child.name() !== nameCommand);
  const subcommands = children.map((child) => ({ name: child.name(), description: child.summary() || child.description() }));
  const node = {
    path: path.join(' '),
    description: command.description(),
    subcommands,
    options,
    words: wordsOf(command),
    ...namesOf(command),
  };
  const passedOn = path.length === 0 ? options.filter((option) => option !== help && !option.flags.includes('--version')) : inherited;
  return [node, ...children.flatMap((child) => walk(child, [...path, child.name()], passedOn))];
}

const help: CompletionOption = { flags: ['-h', '--help'], description: 'show help', takesValue: false, choices: [], takesPath: false };

function optionOf(option: Option): CompletionOption {
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined && flag !== null),
    description: option.description,
    takesValue: option.required || option.optional,
    choices: option.argChoices ?? [],
    takesPath: pathPlaceholders.test(option.flags),
    ...namesOfOption(option),
  };
}

function namesOfOption({ long }: Option): { names?: NameSource } {
  const names = optionNames[long ?? ''];
  return names ? { names } : {};
}

function namesOf(command: Command): Pick<CompletionNode, 'names'> {
  const [first] = command.registeredArguments;
  const source = first && argumentNames[first.name()];
  return source ? { names: { source, variadic: first.variadic } } : {};
}

function wordsOf(command: Command): string[] {
  const [first] = command.registeredArguments;
  if (!first) return [];
  if (first.argChoices) return [...first.argChoices];
  return first.name() === 'type' ? resources.map((resource) => resource.plural) : [];
}
