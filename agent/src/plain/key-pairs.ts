/** Keeps the key pairs that several nodes share, as Kubernetes' service-account keys: a copy in the state folder, the files from it. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { Clock, Timer } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { backoffMs } from '@evercert/shared/retry';
import * as z from 'zod';
import type { CoordinatorApi } from '../coordinator-api.ts';
import type { DesiredKeyPair } from '../desired/types.ts';
import { type EventSink, mendedEvent } from '../events.ts';
import type { PlainFileSpec, PlainFiles } from '../files/types.ts';
import type { StateFolder } from '../state/folder.ts';
import { KeyedLock } from '../state/keyed-lock.ts';
import { asInPlace } from './in-place.ts';
import type { FileLedger } from './ledger.ts';

export interface KeyPairSnapshot {
  name: string;
  /** "Ready", "Pending" or "Failed". */
  state: string;
  lastError: string;
}

export interface KeyPairKeeperOptions {
  api: CoordinatorApi;
  files: PlainFiles;
  folder: StateFolder;
  ledger: FileLedger;
  events: EventSink;
  logger: Logger;
  clock: Clock;
  random: () => number;
  reload: (name: string, spec: ReloadSpec) => void;
  onChange: () => void;
}

const stored = z.object({ version: z.string(), privateKeyPem: z.string(), publicKeyPem: z.string() });
type StoredPair = z.infer<typeof stored>;

interface Held {
  desired: DesiredKeyPair;
  pair?: StoredPair;
  /** The pair's files as they are to be: as they were found, where those say the same. */
  files?: PlainFileSpec[];
  error?: EvercertError;
  attempts: number;
  timer?: Timer;
}

const callMs = 15_000;
const stateFile = (name: string): string => `key-pairs/${name}.json`;

export class KeyPairKeeper {
  readonly #options: KeyPairKeeperOptions;
  readonly #held = new Map<string, Held>();
  readonly #abort = new AbortController();
  readonly #applying = new KeyedLock();
  readonly #bringing = new KeyedLock();

  constructor(options: KeyPairKeeperOptions) {
    this.#options = options;
  }

  /** Gets and writes what has changed. Never throws: what fails is in the snapshots and is tried again. */
  apply(pairs: DesiredKeyPair[], keep: string[] = []): Promise<void> {
    // A call may wait for the coordinator while the next one comes: the older must not sweep what the newer wrote.
    return this.#applying.run('', () => this.#apply(pairs, keep));
  }

  async #apply(pairs: DesiredKeyPair[], keep: string[]): Promise<void> {
    const declared = new Map(pairs.map(({ name, privateKey, publicKey }) => [name, [privateKey.path, publicKey.path]]));
    for (const [name, held] of this.#held) {
      if (declared.has(name) || keep.includes(name)) continue;
      held.timer?.cancel();
      this.#held.delete(name);
    }
    for (const desired of pairs) {
      const held: Held = this.#held.get(desired.name) ?? { desired, attempts: 0 };
      held.desired = desired;
      this.#held.set(desired.name, held);
      await this.#bring(held);
    }
    if (keep.length === 0) await this.#sweep(declared);
    this.#options.onChange();
  }

  /** The coordinator can be reached again. */
  async connected(): Promise<void> {
    for (const held of this.#held.values()) if (held.error) await this.#bring(held);
  }

  /** Puts damaged files right from the agent's copy, with an event each. */
  async scan(): Promise<void> {
    for (const held of this.#held.values()) await this.#bringing.run(held.desired.name, () => this.#scanOne(held));
  }

  async #scanOne(held: Held): Promise<void> {
    const { pair, desired } = held;
    if (!pair) return;
    try {
      const specs = held.files ?? fileSpecs(desired, pair);
      const faults = (await Promise.all(specs.map((spec) => this.#options.files.inspect(spec)))).flat();
      if (faults.length > 0) await this.#options.files.write(specs);
      for (const fault of faults) this.#options.events.record(mendedEvent(fault, desired.name));
      if (held.error && pair.version === desired.version) this.#succeeded(held);
    } catch (error) {
      this.#failed(held, toEvercertError(error));
    }
  }

  stop(): void {
    this.#abort.abort();
    for (const { timer } of this.#held.values()) timer?.cancel();
  }

  snapshots(): KeyPairSnapshot[] {
    return [...this.#held.values()].map(({ desired, pair, error }) => ({
      name: desired.name,
      state: error && !pair ? 'Failed' : pair?.version === desired.version ? 'Ready' : 'Pending',
      lastError: error?.message ?? '',
    }));
  }

  paths(): string[] {
    return [...this.#held.values()].flatMap(({ desired }) => [desired.privateKey.path, desired.publicKey.path]);
  }

  /** A pair that is here only has to be put back into its files, which is told of as a scan does. */
  #again(held: Held): Promise<void> {
    if (held.pair?.version !== held.desired.version) return this.#bring(held);
    return this.#bringing.run(held.desired.name, () => this.#scanOne(held));
  }

  #bring(held: Held): Promise<void> {
    held.timer?.cancel();
    return this.#bringing.run(held.desired.name, () => this.#bringOne(held));
  }

  async #bringOne(held: Held): Promise<void> {
    if (this.#abort.signal.aborted || this.#held.get(held.desired.name) !== held) return;
    const { ledger, files, logger, reload } = this.#options;
    const { desired } = held;
    try {
      const present = held.pair ?? (await this.#readCopy(desired.name));
      const pair = present?.version === desired.version ? present : await this.#fetch(desired);
      const specs: PlainFileSpec[] = [];
      for (const file of fileSpecs(desired, pair)) specs.push(await asInPlace(file, { files, ledger, name: desired.name, sameMeaning }));
      await ledger.note(desired.name, [desired.privateKey.path, desired.publicKey.path]);
      const wrote = await files.write(specs);
      // Only now: before it, a scan would take files that are not written yet for missing ones.
      held.pair = pair;
      held.files = specs;
      this.#succeeded(held);
      if (wrote) logger.info('A shared key pair was written', { keyPair: desired.name, version: desired.version });
      if (wrote && desired.reload) reload(desired.name, desired.reload);
    } catch (error) {
      this.#failed(held, toEvercertError(error));
    }
  }

  #succeeded(held: Held): void {
    held.timer?.cancel();
    held.attempts = 0;
    delete held.error;
    this.#options.onChange();
  }

  async #fetch({ name, version }: DesiredKeyPair): Promise<StoredPair> {
    const pair = checked(name, await this.#options.api.getKeyPair(name, { deadlineMs: callMs, signal: this.#abort.signal }));
    if (pair.version !== version) {
      throw new EvercertError('StaleSpec', `key pair ${name} has changed meanwhile; the new desired state is awaited`);
    }
    await this.#options.folder.write(stateFile(name), JSON.stringify(pair));
    return pair;
  }

  /** A damaged copy counts as none: the coordinator has the pair. */
  async #readCopy(name: string): Promise<StoredPair | undefined> {
    const content = await this.#options.folder.read(stateFile(name));
    if (!content) return undefined;
    try {
      return checked(name, stored.parse(JSON.parse(content.toString())));
    } catch {
      // The parser's own words may quote the key: say only that the copy is damaged.
      this.#options.logger.warn('The copy of a shared key pair is damaged; it is fetched anew', { keyPair: name });
      return undefined;
    }
  }

  #failed(held: Held, error: EvercertError): void {
    if (this.#abort.signal.aborted) return;
    const { clock, random, events, onChange } = this.#options;
    const { name } = held.desired;
    // Messages about an absent coordinator vary; those about files name the file.
    if (held.error?.code !== error.code || (error.code === 'FileConflict' && held.error.message !== error.message)) {
      events.record({
        reason: 'KeyPairFailed',
        type: 'Warning',
        certificate: name,
        errorCode: error.code,
        message: `key pair ${name}: ${error.message}`,
      });
    }
    held.error = error;
    held.attempts += 1;
    held.timer?.cancel();
    const hint = error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs };
    held.timer = clock.after(backoffMs({ attempt: held.attempts, draw: random(), capMs: 60_000, ...hint }), () => void this.#again(held));
    onChange();
  }

  async #sweep(declared: Map<string, string[]>): Promise<void> {
    const { ledger, folder, logger } = this.#options;
    try {
      for (const name of await ledger.sweep(declared)) {
        await folder.remove(stateFile(name));
        logger.info('A shared key pair is no longer declared; its files were removed', { keyPair: name });
      }
    } catch (caught) {
      const error = toEvercertError(caught);
      logger.error('A shared key pair that is no longer declared could not be removed', { code: error.code, error: error.message });
    }
  }
}

function fileSpecs({ privateKey, publicKey }: DesiredKeyPair, { privateKeyPem, publicKeyPem }: StoredPair): PlainFileSpec[] {
  return [
    { ...privateKey, content: Buffer.from(privateKeyPem) },
    { ...publicKey, content: Buffer.from(publicKeyPem) },
  ];
}

/** The same key, in whatever form; a private one is not the same as its public half. */
function sameMeaning(declared: Buffer, found: Buffer): boolean {
  const text = (pem: Buffer): string => {
    const isPrivate = pem.includes('PRIVATE KEY-----');
    return `${isPrivate}${createPublicKey(pem.toString()).export({ type: 'spki', format: 'der' }).toString('base64')}`;
  };
  try {
    return text(declared) === text(found);
  } catch {
    // OpenSSL's message may hold parts of its input; what cannot be read says nothing.
    return false;
  }
}

/** Errors: PairMismatch when the two halves do not belong together or are no keys. */
function checked(name: string, pair: StoredPair): StoredPair {
  const spki = (key: string | ReturnType<typeof createPrivateKey>): Buffer => createPublicKey(key).export({ type: 'spki', format: 'der' });
  let same: boolean;
  try {
    same = spki(createPrivateKey(pair.privateKeyPem)).equals(spki(pair.publicKeyPem));
  } catch {
    // OpenSSL's message may hold parts of its input.
    same = false;
  }
  if (!same) throw new EvercertError('PairMismatch', `the private and the public key of key pair ${name} do not belong together`);
  return pair;
}
