/** The desired state on disk, so that an agent that starts without a coordinator knows what to keep alive. */
import { DesiredState } from '@evercert/proto';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { StateFolder } from '../state/folder.ts';

const fileName = 'desired-state.bin';

/** Undefined when there is none; a damaged one counts as none, for the coordinator sends it again. Errors: FileSystem. */
export async function readDesiredCache(folder: StateFolder, logger: Logger): Promise<DesiredState | undefined> {
  const content = await folder.read(fileName);
  if (!content) return undefined;
  try {
    const state = DesiredState.decode(content);
    // Every desired state has a revision; a truncated file may decode without one.
    return state.revision ? state : undefined;
  } catch (error) {
    logger.warn('The cached desired state is damaged; the coordinator is asked for it', { error: toEvercertError(error).message });
    return undefined;
  }
}

/** Durable when it resolves. Errors: DiskFull, FileSystem. */
export function writeDesiredCache(folder: StateFolder, state: DesiredState): Promise<void> {
  return folder.write(fileName, Buffer.from(DesiredState.encode(state).finish()));
}
