/** `evercert`: hands the process to the program, and the exit code back. */
import { homedir } from 'node:os';
import { systemClock } from '@evercert/shared/clock';
import { readText } from '@evercert/shared/http';
import { connectAdmin } from './client.ts';
import { loadMaterial } from './contexts/index.ts';
import { usageError } from './errors.ts';
import { runProgram } from './program.ts';
import { askTerminal } from './terminal.ts';

/** A reader that has gone (`evercert get nodes -w | head -1`) ends the command quietly, as SIGPIPE ends others. */
const brokenPipeExitCode = 0;

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(brokenPipeExitCode);
    throw error;
  });
}

function readStdin(maxBytes: number): Promise<string> {
  return readText(process.stdin, maxBytes, () => usageError(`standard input has more than ${maxBytes} bytes`));
}

// The exit code is set rather than exited with, so that what was written to a pipe still gets out.
process.exitCode = await runProgram(process.argv.slice(2), {
  clock: systemClock,
  env: process.env,
  cwd: process.cwd(),
  homeDir: homedir(),
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  readStdin,
  ask: askTerminal,
  connect: async (context, options) => connectAdmin(await loadMaterial(context), options),
});
