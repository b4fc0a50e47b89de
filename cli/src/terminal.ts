import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';

/** Asks on the terminal; undefined: there is none. What is secret is not shown while it is typed. */
export async function askTerminal(question: string, { secret }: { secret: boolean }): Promise<string | undefined> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY || !stderr.isTTY) return undefined;
  stderr.write(question);
  const shown = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      if (!secret) stderr.write(chunk);
      done();
    },
  });
  const lines = createInterface({ input: stdin, output: shown, terminal: true });
  try {
    return await lines.question('');
  } finally {
    lines.close();
    if (secret) stderr.write('\n');
  }
}
