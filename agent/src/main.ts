import { systemClock } from '@evercert/shared/clock';
import { runCli } from './cli.ts';
import { runAgent } from './run.ts';

const exitCode = await runCli(process.argv.slice(2), {
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
  clock: systemClock,
  run: (config) => runAgent(config, { clock: systemClock, random: Math.random, process }),
});
// A timer or socket that is still open must not keep a stopped agent alive; what was written to the pipes goes out first.
process.exitCode = exitCode;
process.stdout.write('', () => process.stderr.write('', () => process.exit(exitCode)));
