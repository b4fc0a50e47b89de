import { createHash, randomBytes } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { layout } from '../state/layout.ts';
import { decodeRecord, encodeRecord, type RevocationListRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';

/** A list can be larger than what one transaction takes. */
const partBytes = 512 * 1024;

export interface StoredCrl {
  name: string;
  record: RevocationListRecord;
  modRevision: number;
  der: Buffer;
}

/**
 * Keeps each CA's newest CRL. The parts are written first, then one record that names them, by comparison with its predecessor: so the number is durable before anybody sees the
 * list, and two writers never put out the same number.
 */
export class CrlStore {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * The newest list; undefined if there is none. `der` is empty if the parts are damaged, or another list has taken its place while it was read: a new one with a higher number is to be made,
   * or read.
   *
   * @param tidy removes what a crash left behind; for who makes lists: to others, what is just being written looks like that.
   */
  async load(cluster: string, name: string, { tidy }: { tidy: boolean }): Promise<StoredCrl | undefined> {
    const key = layout.revocationList(cluster, name);
    const head = await this.#store.get(key);
    const { entries } = await this.#store.range({ prefix: layout.revocationListParts(cluster, name) });
    const record = head && decodeRecord<RevocationListRecord>(key, head.value);
    const prefix = record && layout.revocationListParts(cluster, name, record.partsId);
    const orphans = entries.filter((entry) => prefix === undefined || !entry.key.startsWith(prefix));
    if (tidy) for (const { key: orphan } of orphans) await this.#store.transact([], [{ type: 'delete', key: orphan }]);
    if (!head || !record || prefix === undefined) return undefined;
    const der = Buffer.concat(entries.filter((entry) => entry.key.startsWith(prefix)).map(({ value }) => value));
    const whole = sha256(der) === record.sha256;
    return { name, record, modRevision: head.modRevision, der: whole ? der : Buffer.alloc(0) };
  }

  /** Removes what is kept of a CA's lists but for these: generations whose last certificate has ended need none. */
  async keepOnly(cluster: string, issuer: string, names: ReadonlySet<string>, compares: Compare[]): Promise<void> {
    const prefix = layout.revocationListsOf(cluster);
    for (const { key } of (await this.#store.range({ prefix })).entries) {
      const name = key.slice(prefix.length);
      if (!isOf(issuer, name) || names.has(name)) continue;
      const parts = layout.revocationListParts(cluster, name);
      await this.#store.transact(compares, [
        { type: 'delete', key },
        { type: 'deletePrefix', prefix: parts },
      ]);
    }
  }

  /**
   * Makes a list the newest one. Conflict: `before` is not the newest any more, or one of `compares` does not hold.
   *
   * @param name under which it is kept.
   * @param before the list that it follows; undefined: it is the first.
   */
  async save(
    name: string,
    record: Omit<RevocationListRecord, 'partsId' | 'sha256'>,
    der: Buffer,
    before: StoredCrl | undefined,
    compares: Compare[],
  ): Promise<StoredCrl> {
    const { cluster, number } = record;
    const partsId = `${number}-${randomBytes(4).toString('hex')}`;
    const prefix = layout.revocationListParts(cluster, name, partsId);
    for (let at = 0, part = 0; at < der.length; at += partBytes, part++) {
      const key = `${prefix}${String(part).padStart(4, '0')}`;
      await this.#store.transact([], [{ type: 'put', key, value: der.subarray(at, at + partBytes) }]);
    }
    const whole: RevocationListRecord = { ...record, partsId, sha256: sha256(der) };
    faultPoint('coordinator.crl.before-commit');
    const key = layout.revocationList(cluster, name);
    const { succeeded, revision } = await this.#store.transact(
      [{ key, modRevision: before?.modRevision ?? 0 }, ...compares],
      [{ type: 'put', key, value: encodeRecord(whole) }, ...oldParts(before)],
    );
    faultPoint('coordinator.crl.after-commit');
    if (succeeded) return { name, record: whole, modRevision: revision, der };
    await this.#store.transact([], [{ type: 'deletePrefix', prefix }]);
    throw new EvercertError('Conflict', `the CRL ${name} of cluster ${cluster} was made by another at the same time: look again`);
  }
}

/** Names under which a cluster's lists of one CA are kept. */
function isOf(issuer: string, name: string): boolean {
  return name === issuer || name.startsWith(`${issuer}@`);
}

function oldParts(before: StoredCrl | undefined): Operation[] {
  if (!before) return [];
  const { cluster, partsId } = before.record;
  return [{ type: 'deletePrefix', prefix: layout.revocationListParts(cluster, before.name, partsId) }];
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
