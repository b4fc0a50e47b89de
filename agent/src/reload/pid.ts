import { EvercertError } from '@evercert/shared/errors';
import { readSmallFile } from '../files/tree.ts';

const maxPidFileBytes = 4096;

/** The process number in a pid file. Errors: ReloadFailed. */
export async function readPid(path: string): Promise<number> {
  const content = await readSmallFile(path, maxPidFileBytes).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new EvercertError('ReloadFailed', `the pid file cannot be read; check that the component runs and writes it: ${why}`, {
      cause: error,
    });
  });
  const text = content.toString('utf8').trim();
  const pid = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  // 0 is our own process group, 1 is init: no component is either. What the file holds is not told: the manifest may name any file, and errors travel.
  if (pid <= 1 || pid === process.pid) {
    throw new EvercertError(
      'ReloadFailed',
      `the pid file ${path} holds no process number; one above 1 was expected, and not the agent's own`,
    );
  }
  return pid;
}
