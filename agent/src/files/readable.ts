import { EvercertError } from '@evercert/shared/errors';

/** What a file tells; undefined where it is damaged or something else, for what is found in files need not be ours. Other mistakes are thrown. */
export function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof EvercertError) return undefined;
    throw error;
  }
}
