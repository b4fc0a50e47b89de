import type { Command } from 'commander';
import { type Cursor, completionTree, cursorOf, matching, nameCommand, type WantedNames, wantedNames } from '../completion/index.ts';
import { contextsPath, readContexts, resolveContext } from '../contexts/index.ts';
import { type Environment, line } from '../environment.ts';
import { clusters, everything, findResource, nodes, type Resource, replacements, select, tokens } from '../resources/index.ts';
import type { CommandContext } from './session.ts';

/** Somebody waits with a finger on the Tab key. */
const requestTimeoutMs = 1500;

/** For the completion scripts: prints the names that can stand at the cursor, one a line. Never fails: without a coordinator there are none. */
export function addCompleteNamesCommand(program: Command, { environment }: CommandContext): void {
  program
    .command(nameCommand, { hidden: true })
    .description('Print the names that complete a command line; for the scripts of "evercert completion".')
    .argument('[words...]', 'the words of the line after the name of the program, the one at the cursor last')
    .action(async (words: string[]) => {
      const cursor = cursorOf(completionTree(program), words);
      const wanted = cursor && wantedNames(cursor);
      if (!wanted) return;
      for (const name of matching(cursor, await namesOf(wanted, cursor, environment), wanted.prefix)) line(environment.out, name);
    });
}

async function namesOf({ source }: WantedNames, cursor: Cursor, environment: Environment): Promise<string[]> {
  try {
    if (source === 'contexts') return (await readContexts(pathOf(cursor, environment))).contexts.map(({ name }) => name);
    if (typeof source === 'object') return await listNames(findResource(source.type), cursor, environment);
    return await listNames(resourceOf[source], cursor, environment);
  } catch {
    // A message would stand in the middle of the line that is being typed; the command itself will tell what is wrong.
    return [];
  }
}

const resourceOf = { nodes, clusters, tokens, replacements } as unknown as Record<string, Resource<unknown>>;

async function listNames<T>(resource: Resource<T> | undefined, cursor: Cursor, environment: Environment): Promise<string[]> {
  if (!resource) return [];
  const context = await resolveContext(pathOf(cursor, environment), cursor.values['--context']);
  const api = await environment.connect(context, { requestTimeoutMs });
  try {
    const cluster = cursor.values['--cluster'] ?? context.cluster ?? '';
    const selection = { ...everything, cluster, node: resource.nodes ? (cursor.values['--node'] ?? '') : '' };
    return (await resource.list(api, selection)).filter(select(resource, selection, [])).map((item) => resource.name(item));
  } finally {
    api.close();
  }
}

function pathOf({ values }: Cursor, { env, homeDir, cwd }: Environment): string {
  return contextsPath({ config: values['--config'], env, homeDir, cwd });
}
