import { canonicalAddress as parseAddress } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import type { EventRecorder, NewEvent } from '../events/recorder.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { decodeRecord, encodeRecord, type NodeRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';
import { type AddressAnswer, decideAddresses, maxClaimed } from './addresses.ts';

/** An address's holder, as stored. */
export interface AddressRecord {
  node: string;
}

export interface NodeWrite {
  compares: Compare[];
  operations: Operation[];
}

/** A change that loses against another is decided again, so many times. */
const maxAttempts = 8;

/** The one writer of node records: keeps the index of addresses in step with them. */
export class NodeRegistry {
  readonly #store: Store;
  readonly #model: Model;
  readonly #events: EventRecorder;

  constructor(options: { store: Store; model: Model; events: EventRecorder }) {
    this.#store = options.store;
    this.#model = options.model;
    this.#events = options.events;
  }

  /** The node as the store has it now, with the revision to compare; undefined when there is none. */
  async read(cluster: string, name: string): Promise<{ record: NodeRecord; modRevision: number } | undefined> {
    const entry = await this.#store.get(layout.node(cluster, name));
    return entry && { record: decodeRecord<NodeRecord>(entry.key, entry.value), modRevision: entry.modRevision };
  }

  /** Who holds an address in a cluster. */
  async holder(cluster: string, address: string): Promise<string | undefined> {
    const entry = await this.#store.get(layout.address(cluster, address));
    return entry && decodeRecord<AddressRecord>(entry.key, entry.value).node;
  }

  /** As `decideClaims`; refusals become events. Only for a node that has proved who it is: the events are in its name. */
  async admitClaims(node: NodeRecord, claimed: readonly string[]): Promise<string[]> {
    const { accepted, refused } = await this.decideClaims(node, claimed);
    for (const { address, why } of refused) {
      const actor = `node/${node.cluster}/${node.name}`;
      this.#events.recordOncePerMinute(actor, ['AddressNotAllowed', address], {
        cluster: node.cluster,
        node: node.name,
        actor,
        reason: 'AddressNotAllowed',
        warning: true,
        errorCode: 'AddressNotAllowed',
        message: `${address} will stand in no certificate of ${node.name}: ${why}`,
      });
    }
    return accepted;
  }

  /** Splits what a node says of its addresses into accepted and refused, by the cluster's policy. */
  async decideClaims(node: NodeRecord, claimed: readonly string[]): Promise<AddressAnswer> {
    const holders = new Map<string, string | undefined>();
    // Addresses are held in their canonical form, and whoever claims may spell them as he likes, and send as many as a message holds.
    const addresses = claimed.slice(0, maxClaimed).flatMap((text) => parseAddress(text) ?? []);
    for (const address of addresses) holders.set(address, await this.holder(node.cluster, address));
    return decideAddresses({
      node: node.name,
      claimed,
      registered: node.registeredAddresses,
      ranges: this.#model.cluster(node.cluster)?.policy.nodeAddressRanges ?? [],
      holder: (address) => holders.get(address),
    });
  }

  /** What it takes to write a node over its earlier state: comparisons that make two holders of one address impossible, and the puts. */
  async write(record: NodeRecord, earlier: { record: NodeRecord; modRevision: number } | undefined): Promise<NodeWrite> {
    const key = layout.node(record.cluster, record.name);
    const before = new Set(earlier ? addressesOf(earlier.record) : []);
    const after = new Set(addressesOf(record));
    const write: NodeWrite = {
      compares: [{ key, modRevision: earlier?.modRevision ?? 0 }],
      operations: [{ type: 'put', key, value: encodeRecord(record) }],
    };
    for (const address of after) {
      if (before.has(address)) continue;
      const addressKey = layout.address(record.cluster, address);
      const entry = await this.#store.get(addressKey);
      const owner = entry && decodeRecord<AddressRecord>(addressKey, entry.value).node;
      if (owner !== undefined && owner !== record.name) {
        throw new EvercertError('AlreadyExists', `address ${address} is held by node ${owner} of cluster ${record.cluster}`, {
          metadata: { address, node: owner },
        });
      }
      write.compares.push({ key: addressKey, modRevision: entry?.modRevision ?? 0 });
      write.operations.push({ type: 'put', key: addressKey, value: encodeRecord<AddressRecord>({ node: record.name }) });
    }
    for (const address of before)
      if (!after.has(address)) write.operations.push({ type: 'delete', key: layout.address(record.cluster, address) });
    return write;
  }

  /** Changes a node by a pure function, again when another change came between. Undefined from it means: leave as it is. NotFound: no such node. */
  async update(
    cluster: string,
    name: string,
    change: (record: NodeRecord) => NodeRecord | undefined,
    event?: (record: NodeRecord) => NewEvent,
  ): Promise<NodeRecord> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const earlier = await this.read(cluster, name);
      if (!earlier) throw nodeNotFound(cluster, name);
      const record = change(earlier.record);
      if (!record) return earlier.record;
      const { compares, operations } = await this.write(record, earlier);
      const told = event ? [this.#events.operation(event(record))] : [];
      const { succeeded, revision } = await this.#store.transact(compares, [...operations, ...told]);
      if (!succeeded) continue;
      this.#model.nodes.accept(layout.node(cluster, name), record, revision);
      return record;
    }
    throw new EvercertError('Conflict', `node ${name} keeps changing under this request: try again`);
  }

  /** What it takes to delete a node and what is known of it. */
  erase({ record, modRevision }: { record: NodeRecord; modRevision: number }): NodeWrite {
    const { cluster, name } = record;
    const key = layout.node(cluster, name);
    return {
      compares: [{ key, modRevision }],
      operations: [
        { type: 'delete', key },
        { type: 'delete', key: layout.nodeStatus(cluster, name) },
        { type: 'delete', key: layout.nodeHealth(cluster, name) },
        { type: 'delete', key: layout.repairWindow(cluster, name) },
        { type: 'deletePrefix', prefix: layout.currents(cluster, name) },
        ...addressesOf(record).map((address): Operation => ({ type: 'delete', key: layout.address(cluster, address) })),
      ],
    };
  }
}

function addressesOf(node: NodeRecord): string[] {
  return [...new Set([...node.registeredAddresses, ...node.claimedAddresses])];
}

export function nodeNotFound(cluster: string, name: string): EvercertError {
  return new EvercertError('NotFound', `nodes "${name}" not found in cluster ${cluster}`, { metadata: { cluster, node: name } });
}
