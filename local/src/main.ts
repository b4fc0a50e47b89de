import { join } from 'node:path';
import { systemClock } from '@evercert/shared/clock';
import { describeError, toEvercertError } from '@evercert/shared/errors';
import { runCluster } from './run.ts';
import { isUsage, parseRunOptions } from './run-options.ts';
import { newRunFolder } from './supervisor/run-folder.ts';

const options = parseRunOptions(process.argv.slice(2));
if (isUsage(options)) {
  (options.exitCode === 0 ? process.stdout : process.stderr).write(options.text);
  process.exitCode = options.exitCode;
} else {
  try {
    const runDir = options.runDir ?? newRunFolder(join(process.cwd(), '.evercert-local'), systemClock.nowMs());
    process.exitCode = await runCluster(
      { ...options, runDir },
      { clock: systemClock, stdout: process.stdout, stderr: process.stderr, env: process.env },
    );
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    process.exitCode = toEvercertError(error).exitCode;
  }
}
