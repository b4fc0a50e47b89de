/** What an operator would install for the `command` provisioner: the example from deploy/provisioners with hooks, each a small program. */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const example = fileURLToPath(new URL('../../deploy/provisioners/evercert-hooks.mjs', import.meta.url));

export interface Operator {
  /** The example with its arguments, as a step of the configuration. */
  command: string[];
  /** Where the example keeps its journal. */
  stateDir: string;
  hooksDir: string;
}

/** Copies the example, to be run by this Node, and writes hooks; their text is a whole program. */
export async function installOperator(folder: string, hooks: Record<string, string>): Promise<Operator> {
  const [hooksDir, stateDir] = [join(folder, 'hooks'), join(folder, 'journal')];
  await mkdir(hooksDir, { recursive: true, mode: 0o755 });
  const program = installProgram(
    join(folder, 'evercert-hooks.mjs'),
    readFileSync(example, 'utf8').replace(/^#!.*/, `#!${process.execPath}`),
  );
  for (const [name, text] of Object.entries(hooks)) installProgram(join(hooksDir, name), text);
  return { command: [program, hooksDir, stateDir], stateDir, hooksDir };
}

/** Writes an executable and returns its path. */
export function installProgram(path: string, text: string): string {
  writeFileSync(path, text, { mode: 0o755 });
  return path;
}
