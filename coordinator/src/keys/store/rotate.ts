import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { layout } from '../../state/layout.ts';
import type { Store } from '../../store/index.ts';
import { decodeSealedKey, encodeSealedKey, rewrap } from './envelope.ts';
import type { Kek, KekRing } from './kek.ts';

const attempts = 5;

/**
 * Puts every sealed key under another key-encryption key, one record after another, while coordinators go on; what was put there before stays as it is, so that an interrupted run is
 * simply run again. Every coordinator must know both keys meanwhile. Returns how many records were rewritten.
 * FailedPrecondition: a record is under a key that is not here. DataLoss: a record is damaged (those after it are not reached). StoreFailure.
 */
export async function rotateKek(store: Store, keks: KekRing, to: Kek): Promise<{ rewrapped: number; total: number }> {
  const { entries } = await store.range({ prefix: layout.sealedKeys });
  let rewrapped = 0;
  for (const { key } of entries) {
    if (await rewrapOne(store, key, keks, to)) rewrapped += 1;
    faultPoint('keys.rewrapped');
  }
  return { rewrapped, total: entries.length };
}

async function rewrapOne(store: Store, key: string, keks: KekRing, to: Kek): Promise<boolean> {
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const entry = await store.get(key);
    if (entry === undefined) return false;
    const record = decodeSealedKey(key.slice(layout.sealedKeys.length), entry.value);
    if (record.kek === to.id) return false;
    const value = encodeSealedKey(rewrap(record, keks, to));
    const { succeeded } = await store.transact([{ key, modRevision: entry.modRevision }], [{ type: 'put', key, value }]);
    if (succeeded) return true;
  }
  throw new EvercertError('Conflict', `the sealed key ${key} is being changed by somebody else all the time; run the command again`);
}
