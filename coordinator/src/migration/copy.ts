import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { retry } from '@evercert/shared/retry';
import { layout } from '../state/layout.ts';
import { type Compare, type KeyValue, type Operation, type Store, storeLimits } from '../store/index.ts';
import { isContent } from './contents.ts';

export interface CopyOptions {
  from: Pick<Store, 'snapshot'>;
  to: Store;
  /** The mark in the target: while it is this one, the target is ours to fill. */
  guard: Compare;
  clock: Clock;
  random: () => number;
  signal: AbortSignal;
  /** What this is part of, and the fault point behind each write. */
  work: { what: string; faultPoint: string };
  /** Called as it goes on. */
  onProgress: (entries: number) => void;
}

const attempts = 20;
/** Below the store's own bound. */
const batchBytes = storeLimits.transactionBytes / 2;
const batchOperations = 100;
const pageEntries = 200;

/**
 * Makes the target's content that of the source: writes what differs, deletes what is too much. What is right already is left alone, so that a copy that broke off goes on
 * where it was, and each write can be repeated. Returns how many entries were written or deleted.
 */
export async function copyContents(options: CopyOptions): Promise<number> {
  const { from, to, signal, onProgress } = options;
  const writer = new BatchWriter(options);
  let [after, copied] = ['', 0];
  for await (const page of from.snapshot({ prefix: layout.root, signal })) {
    const last = page.entries.at(-1)?.key ?? after;
    await writer.bring(page.entries.filter(isContent), await entriesBetween(to, after, last));
    after = last;
    copied += page.entries.length;
    onProgress(copied);
  }
  await writer.bring([], await entriesBetween(to, after, undefined));
  await writer.flush();
  return writer.written;
}

/** Of the target, behind one key and up to another. */
async function entriesBetween(store: Store, after: string, upTo: string | undefined): Promise<KeyValue[]> {
  const found: KeyValue[] = [];
  for (let from = after; ; ) {
    const { entries, more } = await store.range({ prefix: layout.root, limit: pageEntries, ...(from && { after: from }) });
    for (const entry of entries) {
      if (upTo !== undefined && Buffer.compare(Buffer.from(entry.key), Buffer.from(upTo)) > 0) return found;
      found.push(entry);
    }
    if (!more) return found;
    from = entries.at(-1)!.key;
  }
}

class BatchWriter {
  readonly #options: CopyOptions;
  #operations: Operation[] = [];
  #bytes = 0;
  written = 0;

  constructor(options: CopyOptions) {
    this.#options = options;
  }

  /** Turns what is there into what should be. */
  async bring(wanted: readonly KeyValue[], there: readonly KeyValue[]): Promise<void> {
    const present = new Map(there.map((entry) => [entry.key, entry]));
    for (const { key, value } of wanted) {
      const found = present.get(key);
      present.delete(key);
      if (found !== undefined && found.lease === undefined && Buffer.compare(found.value, value) === 0) continue;
      await this.#add({ type: 'put', key, value }, value.byteLength);
    }
    for (const { key } of present.values()) if (key !== layout.storeMark) await this.#add({ type: 'delete', key }, 0);
  }

  async flush(): Promise<void> {
    const operations = this.#operations;
    if (operations.length === 0) return;
    this.#operations = [];
    this.#bytes = 0;
    const { to, guard, clock, random, signal, work } = this.#options;
    const { succeeded } = await retry(() => to.transact([guard], operations), { clock, random, signal, attempts, capMs: 5000 });
    if (!succeeded) {
      throw new EvercertError('Conflict', `somebody else writes to the target at the same time: end that, and run ${work.what} again`);
    }
    this.written += operations.length;
    faultPoint(work.faultPoint);
  }

  async #add(operation: Operation, bytes: number): Promise<void> {
    if (this.#operations.length >= batchOperations || this.#bytes + bytes > batchBytes) await this.flush();
    this.#operations.push(operation);
    this.#bytes += bytes;
  }
}
