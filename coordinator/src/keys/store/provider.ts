import type { KeyObject } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import type { Logger } from '@evercert/shared/logging';
import { generateKeyPair, type KeyAlgorithm, privateKeyToPem } from '@evercert/shared/x509';
import { Informer } from '../../state/informer.ts';
import { layout } from '../../state/layout.ts';
import type { Store } from '../../store/index.ts';
import { HeldKey } from '../held-key.ts';
import { checkKeyId, checkSharedKeyId, missingKey, takenId } from '../ids.ts';
import { OpenKeys } from '../open-keys.ts';
import type { KeyHolder, KeyProviderKind, Signer } from '../types.ts';
import { decodeSealedKey, encodeSealedKey, openSealedKey, type SealedKeyRecord, sealKey } from './envelope.ts';
import type { KekRing } from './kek.ts';

export interface StoreKeyProviderOptions {
  store: Store;
  keks: KekRing;
  clock: Clock;
  logger: Logger;
}

/** What a value under the keys' prefix holds: a record, or why it is none. */
type Held = { record: SealedKeyRecord } | { damage: EvercertError };

/**
 * Keys in the store, which all coordinators share: a key that another one makes is found, and one that another destroys signs nothing here from the moment that the store tells of it.
 * FailedPrecondition: a key is sealed under a key-encryption key that is not here. DataLoss: the first key cannot be opened.
 */
export async function openStoreKeyProvider(options: StoreKeyProviderOptions): Promise<KeyHolder> {
  const provider = new StoreKeyProvider(options);
  await provider.start();
  return provider;
}

interface OpenKey {
  key: HeldKey;
  /** Of the record; the same after a rewrapping. */
  publicKey: string;
}

class StoreKeyProvider implements KeyHolder {
  readonly kind = 'store';
  readonly #store: Store;
  readonly #keks: KekRing;
  readonly #logger: Logger;
  readonly #records: Informer<Held>;
  readonly #open = new OpenKeys<OpenKey>();

  constructor({ store, keks, clock, logger }: StoreKeyProviderOptions) {
    this.#store = store;
    this.#keks = keks;
    this.#logger = logger;
    this.#records = new Informer<Held>(store, layout.sealedKeys, logger, clock, (key, value) => heldIn(idOf(key), value));
    this.#records.subscribe((change) => {
      const now = change.type === 'put' ? change.record : undefined;
      this.#follow(idOf(change.key), now && 'record' in now ? now.record.publicKey : undefined);
    });
  }

  /** One key of each key-encryption key stands for all: a wrong one fails here rather than at the first renewal. */
  async start(): Promise<void> {
    await this.#records.start();
    try {
      const tried = new Set<string>();
      for (const entry of this.#records.list()) {
        if (!('record' in entry) || tried.has(entry.record.kek)) continue;
        tried.add(entry.record.kek);
        await this.signer(entry.record.id);
      }
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async generate(id: string, algorithm: KeyAlgorithm): Promise<Signer> {
    checkKeyId(id);
    if (this.#open.has(id)) throw takenId(id);
    return (await this.#open.remember(id, this.#make(id, algorithm))).key.signer;
  }

  async import(id: string, privateKey: KeyObject): Promise<Signer> {
    checkKeyId(id);
    if (this.#open.has(id)) throw takenId(id);
    const { signer } = (await this.#open.remember(id, this.#put(id, privateKey))).key;
    this.#logger.info('took a key over', { key: id, algorithm: signer.keyAlgorithm });
    return signer;
  }

  async signer(id: string): Promise<Signer> {
    checkKeyId(id);
    return (await this.#key(id)).signer;
  }

  async exportShared(id: string): Promise<string> {
    checkSharedKeyId(id);
    return privateKeyToPem(await this.takeOut(id));
  }

  async delete(id: string): Promise<void> {
    checkKeyId(id);
    const key = layout.sealedKey(id);
    // Not under the hands of one who makes it.
    await this.#open.peek(id)?.catch(() => undefined);
    const isThere = (await this.#store.get(key)) !== undefined;
    if (isThere) {
      const { revision } = await this.#store.transact([], [{ type: 'delete', key }]);
      this.#records.drop(key, revision);
      this.#logger.info('deleted a key', { key: id });
    }
    (await this.#open.forgetSettled(id))?.key.destroy();
  }

  async list(): Promise<string[]> {
    const { entries } = await this.#store.range({ prefix: layout.sealedKeys });
    return entries.map(({ key }) => idOf(key)).sort();
  }

  async kindOf(id: string): Promise<KeyProviderKind> {
    if (!(await this.has(id))) throw missingKey(id);
    return this.kind;
  }

  async has(id: string): Promise<boolean> {
    checkKeyId(id);
    const key = layout.sealedKey(id);
    return this.#records.get(key) !== undefined || (await this.#store.get(key)) !== undefined;
  }

  async takeOut(id: string): Promise<KeyObject> {
    checkKeyId(id);
    return (await this.#key(id)).privateKey;
  }

  forget(id: string): void {
    this.#open.forget(id);
  }

  async close(): Promise<void> {
    await this.#records.stop();
    this.#open.clear();
  }

  async #key(id: string): Promise<HeldKey> {
    const { key } = await this.#open.get(id, () => this.#load(id));
    if (!key.isDestroyed) return key;
    // Destroyed, and perhaps made anew, while it was opened here.
    this.#open.forget(id);
    return (await this.#open.get(id, () => this.#load(id))).key;
  }

  async #make(id: string, algorithm: KeyAlgorithm): Promise<OpenKey> {
    if (await this.has(id)) throw takenId(id);
    const { privateKey } = await generateKeyPair(algorithm);
    const opened = await this.#put(id, privateKey);
    this.#logger.info('made a key', { key: id, algorithm });
    return opened;
  }

  async #put(id: string, privateKey: KeyObject): Promise<OpenKey> {
    const held = new HeldKey(id, privateKey);
    const record = sealKey(id, privateKey, held.signer.keyAlgorithm, this.#keks.current);
    const key = layout.sealedKey(id);
    const value = encodeSealedKey(record);
    faultPoint('keys.before-store');
    const revision = await this.#commit(id, key, value);
    faultPoint('keys.after-store');
    this.#records.accept(key, { record }, revision);
    return { key: held, publicKey: record.publicKey };
  }

  /** A transaction whose outcome nobody knows is looked up: the nonces of a record are no other's. */
  async #commit(id: string, key: string, value: Buffer): Promise<number> {
    try {
      const { succeeded, revision } = await this.#store.transact([{ key, modRevision: 0 }], [{ type: 'put', key, value }]);
      if (!succeeded) throw takenId(id);
      return revision;
    } catch (error) {
      if (!(error instanceof EvercertError && error.code === 'StoreFailure')) throw error;
      const written = await this.#store.get(key);
      if (written === undefined || !value.equals(written.value)) throw error;
      return written.modRevision;
    }
  }

  async #load(id: string): Promise<OpenKey> {
    const key = layout.sealedKey(id);
    const known = this.#records.get(key)?.record ?? (await this.#read(id, key));
    if ('damage' in known) throw known.damage;
    return { key: new HeldKey(id, openSealedKey(known.record, this.#keks)), publicKey: known.record.publicKey };
  }

  /** Another coordinator may have made it a moment ago. */
  async #read(id: string, key: string): Promise<Held> {
    const entry = await this.#store.get(key);
    if (entry === undefined) throw missingKey(id);
    return heldIn(id, entry.value);
  }

  /** What the store says of a key now holds for the one that is open, too. */
  #follow(id: string, publicKey: string | undefined): void {
    const opening = this.#open.peek(id);
    opening?.then(
      (opened) => {
        if (publicKey === opened.publicKey) return;
        opened.key.destroy();
        this.#open.forget(id, opening);
      },
      () => undefined,
    );
  }
}

function heldIn(id: string, value: Uint8Array): Held {
  try {
    return { record: decodeSealedKey(id, value) };
  } catch (error) {
    if (error instanceof EvercertError) return { damage: error };
    throw error;
  }
}

function idOf(key: string): string {
  return key.slice(layout.sealedKeys.length);
}
