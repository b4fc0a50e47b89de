import { toEvercertError } from '@evercert/shared/errors';
import { createCsr } from '@evercert/shared/x509';
import type { IdentityStore } from './store.ts';

/** No call about an identity takes longer. */
export const callMs = 20_000;
/** These say that the waiting key will never do. */
const discardKeyAfter = new Set(['KeyInUse', 'InvalidCsr', 'WeakKey', 'PairMismatch']);

/** A request for the waiting key, which is made when there is none. */
export async function requestFor(store: IdentityStore, commonName: string): Promise<Buffer> {
  return createCsr({ privateKey: await store.nextKey(), commonName });
}

/** Runs `work` and forgets the waiting key when the answer says that it will never do. Errors: those of `work`. */
export async function withNextKey<T>(store: IdentityStore, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (discardKeyAfter.has(toEvercertError(error).code)) await store.discardNextKey();
    throw error;
  }
}
