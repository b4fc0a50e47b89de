import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { layout } from '../state/layout.ts';
import { type CurrentRecord, decodeRecord, type NodeRecord } from '../state/records.ts';
import type { KeyValue, Store } from '../store/index.ts';
import { digestOf, type MirrorEntry, readMirror, writeMirror } from './mirror.ts';

export interface MirrorKeeperOptions {
  store: Store;
  /** For people: which store. */
  storeName: string;
  path: string;
  clock: Clock;
  logger: Logger;
}

const everyMs = 60_000;
/** All of it: small, and what signing rests on. */
const whole = [layout.clusters, layout.authorities, layout.manifests, layout.revocations, layout.sealedKeys];

/** Keeps the mirror as the store is, a minute behind at most. Every coordinator of a shared store does. */
export class MirrorKeeper {
  readonly #options: MirrorKeeperOptions;
  /** Certificates' records, which never change, by their keys. */
  #certificates = new Map<string, MirrorEntry>();
  #digest = '';
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: MirrorKeeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#writing = this.#first();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#writing;
  }

  /** What the file has may be gone from the store: the certificate of a node that was off for long. */
  async #first(): Promise<void> {
    try {
      const earlier = await readMirror(this.#options.path);
      for (const entry of earlier?.entries ?? []) if (entry.key.startsWith(layout.certificates)) this.#certificates.set(entry.key, entry);
      this.#digest = earlier === undefined ? '' : digestOf(earlier.entries);
    } catch (error) {
      this.#options.logger.warn('the last known state on this disk is of no use; it is written anew', { error: describeError(error) });
    }
    await this.#update();
  }

  async #update(): Promise<void> {
    const { store, storeName, path, clock, logger } = this.#options;
    try {
      const entries = await this.#collect(store);
      const digest = digestOf(entries);
      if (digest !== this.#digest) await writeMirror(path, { store: storeName, writtenAtMs: clock.nowMs(), entries });
      this.#digest = digest;
    } catch (error) {
      logger.warn('the last known state could not be written; trying again', { error: describeError(error) });
    }
    if (this.#stopped) return;
    this.#timer = clock.after(everyMs, () => {
      this.#writing = this.#update();
    });
  }

  async #collect(store: Store): Promise<MirrorEntry[]> {
    const entries: MirrorEntry[] = [];
    const control = await store.get(layout.controlCa);
    if (control) entries.push(mirrored(control));
    for (const prefix of whole) entries.push(...(await store.range({ prefix })).entries.map(mirrored));
    const certificates = new Map<string, MirrorEntry>();
    for (const node of await controlPlane(store)) {
      entries.push(mirrored(node.entry));
      const currents = await store.range({ prefix: layout.currents(node.record.cluster, node.record.name) });
      entries.push(...currents.entries.map(mirrored));
      for (const current of currents.entries) {
        const { serial } = decodeRecord<CurrentRecord>(current.key, current.value);
        const key = layout.certificate(node.record.cluster, serial);
        const found = this.#certificates.get(key) ?? (await certificateOf(store, key));
        if (found !== undefined) certificates.set(key, found);
      }
    }
    this.#certificates = certificates;
    return [...entries, ...certificates.values()];
  }
}

/** Nodes that may carry an etcd member. */
async function controlPlane(store: Store): Promise<{ entry: KeyValue; record: NodeRecord }[]> {
  const found: { entry: KeyValue; record: NodeRecord }[] = [];
  for (let after = ''; ; ) {
    const { entries, more } = await store.range({ prefix: layout.nodes, limit: 500, ...(after && { after }) });
    for (const entry of entries) {
      const record = decodeRecord<NodeRecord>(entry.key, entry.value);
      if (record.role === 'control-plane') found.push({ entry, record });
    }
    if (!more) return found;
    after = entries.at(-1)?.key ?? '';
  }
}

async function certificateOf(store: Store, key: string): Promise<MirrorEntry | undefined> {
  const entry = await store.get(key);
  return entry && mirrored(entry);
}

function mirrored({ key, value }: KeyValue): MirrorEntry {
  return { key, value: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
}
