import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { DesiredStates } from '../desired/desired-states.ts';
import { revocationDetails } from '../events/details.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { renewalSource } from '../events/renewal-log.ts';
import { nodeRequestNames } from '../kubernetes/signers/certificate-names.ts';
import { type NodeRegistry, type NodeWrite, nodeNotFound } from '../nodes/registry.ts';
import type { NodeStatuses } from '../nodes/statuses.ts';
import type { Revocations } from '../revocation/index.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { encodeRecord, type NodeRecord, type RevocationEpochRecord, type RevocationRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';
import { entriesAtOnce, type RemovedCertificate, removalRevocation, removalSource } from './removal-revocation.ts';
import type { RemovedNodes } from './returned.ts';
import type { RemovedNodeRecord } from './types.ts';

/** A removal that loses against another change is made again, so many times. */
const maxAttempts = 8;
/** Certificates whose being the newest is compared; what a node has beyond that is not declared for it any more. */
const maxComparedCurrents = 96;
/** Identities by which a removed node is known; the newest. */
const maxIdentities = 16;

export interface RemovalOptions {
  store: Store;
  model: Model;
  registry: NodeRegistry;
  desired: DesiredStates;
  statuses: NodeStatuses;
  revocations: Revocations;
  removed: RemovedNodes;
  events: EventRecorder;
  clock: Clock;
}

export interface RemovalOrder {
  /** The node as the store has it. */
  earlier: { record: NodeRecord; modRevision: number };
  /** Whose doing it is, as events and records tell it. */
  by: string;
  /** Ends the name of the revocation; [a-z0-9-]. */
  suffix: string;
  /** The node's record from now on; undefined: it is deleted. Must have no identity. */
  after: NodeRecord | undefined;
}

/** What it takes to make a node's identity and certificates worthless, for the transaction that removes it. */
export interface Removal {
  compares: Compare[];
  operations: Operation[];
  accept: (revision: number) => void;
  /** Certificates that are revoked by it. */
  revoked: number;
}

/**
 * Removes nodes: the identity is withdrawn, and every certificate that has not expired is revoked, in one transaction with the node's record. Nothing that was under way for the node can be
 * committed after it: issues compare the node's record and the revocations' epoch, and the removal compares what was issued last.
 */
export class NodeRemoval {
  readonly #options: RemovalOptions;

  constructor(options: RemovalOptions) {
    this.#options = options;
  }

  /** Deletes a node. Errors: NotFound; FailedPrecondition while it is being replaced; Conflict. */
  async remove(cluster: string, name: string, actor: string, suffix: string): Promise<void> {
    const { registry, store, events } = this.#options;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const earlier = await registry.read(cluster, name);
      if (!earlier) throw nodeNotFound(cluster, name);
      const { role, replacement } = earlier.record;
      if (replacement) throw beingReplaced(name, replacement.id);
      const removal = await this.of({ earlier, by: actor, suffix, after: undefined });
      const revoked = removal.revoked > 0 ? `, and revoked its ${removal.revoked} certificates that have not expired` : '';
      const event = {
        cluster,
        node: name,
        actor,
        reason: 'NodeDeleted',
        source: renewalSource(role),
        message: `deleted node ${name}${revoked}`,
      };
      const { succeeded, revision } = await store.transact(removal.compares, [...removal.operations, events.operation(event)]);
      if (!succeeded) continue;
      removal.accept(revision);
      return;
    }
    throw new EvercertError('Conflict', `node ${name} keeps changing under this request: try again`);
  }

  /** Reads what the node has, and tells how it is removed. Revocations that do not fit into the transaction are written before it. */
  async of(order: RemovalOrder): Promise<Removal> {
    return this.#of(order, await this.#read(order));
  }

  /** As `of`, but asks first whether it shall be, with the comparisons that hold what it was decided from in place until it is done. Undefined: it shall not. */
  async ifStill(order: RemovalOrder, isStill: (read: readonly Compare[]) => boolean): Promise<Removal | undefined> {
    const read = await this.#read(order);
    const { cluster, name } = order.earlier.record;
    const node: Compare = { key: layout.node(cluster, name), modRevision: order.earlier.modRevision };
    return isStill([node, ...read.currents]) ? this.#of(order, read) : undefined;
  }

  async #read({ earlier }: RemovalOrder): Promise<{ currents: Compare[]; certificates: RemovedCertificate[] }> {
    const { cluster, name } = earlier.record;
    // Before the certificates are read: what is issued after this is noticed by the comparison.
    const currents = await this.#currents(cluster, name);
    return { currents, certificates: await this.#unexpired(cluster, name) };
  }

  async #of(
    { earlier, by, suffix, after }: RemovalOrder,
    { currents, certificates }: { currents: readonly Compare[]; certificates: readonly RemovedCertificate[] },
  ): Promise<Removal> {
    const { registry, model, statuses } = this.#options;
    const { cluster, name } = earlier.record;
    const node = after ? withoutTraces(await registry.write(after, earlier), cluster, name) : registry.erase(earlier);
    const revocation = await this.#revoke(cluster, name, certificates, { by, suffix });
    const removed = this.#removedRecords(earlier.record, certificates, by);
    return {
      revoked: certificates.length,
      compares: [...node.compares, ...currents],
      operations: [
        ...node.operations,
        ...removed.map(([key, record]): Operation => ({ type: 'put', key, value: encodeRecord(record) })),
        ...revocation.operations,
      ],
      accept: (revision) => {
        if (after) model.nodes.accept(layout.node(cluster, name), after, revision);
        else model.nodes.drop(layout.node(cluster, name), revision);
        statuses.forget(cluster, name);
        for (const { key } of currents) model.currents.drop(key, revision);
        for (const [key, record] of removed) this.#options.removed.informer.accept(key, record, revision);
        revocation.accept(revision);
      },
    };
  }

  /** That what was issued last for each name is so still, names that are declared or can be requested, and have nothing yet, included. */
  async #currents(cluster: string, name: string): Promise<Compare[]> {
    const { store, desired } = this.#options;
    const { entries } = await store.range({ prefix: layout.currents(cluster, name) });
    const there = entries.map(({ key, modRevision }): Compare => ({ key, modRevision }));
    const known = new Set(there.map(({ key }) => key));
    const declared = desired.plan(cluster, name)?.resolved.certificates.map((one) => one.name) ?? [];
    const possible = [...nodeRequestNames, ...declared].map((one) => layout.current(cluster, name, one));
    const missing = possible.filter((key) => !known.has(key)).map((key): Compare => ({ key, modRevision: 0 }));
    return [...there, ...missing].slice(0, maxComparedCurrents);
  }

  /** Identities first, then the newest; without what an earlier removal of a machine of this name has revoked. */
  async #unexpired(cluster: string, node: string): Promise<RemovedCertificate[]> {
    const { revocations } = this.#options;
    const isDone = ({ object }: { object: string }): boolean => revocations.get(cluster, object)?.source === removalSource;
    const found: RemovedCertificate[] = [];
    for await (const record of revocations.live(cluster, { always: true })) {
      const { name, serial, issuedAtMs, uris } = record;
      if (record.node === node && !revocations.matchIssued(record).some(isDone))
        found.push({ name, serial, issuedAtMs, isIdentity: uris.length > 0 });
    }
    return found.sort((a, b) => Number(b.isIdentity) - Number(a.isIdentity) || b.issuedAtMs - a.issuedAtMs);
  }

  async #revoke(
    cluster: string,
    node: string,
    certificates: readonly RemovedCertificate[],
    { by, suffix }: Pick<RemovalOrder, 'by' | 'suffix'>,
  ): Promise<Pick<Removal, 'operations' | 'accept'>> {
    const { store, revocations, clock } = this.#options;
    const epochKey = layout.revocationEpoch(cluster);
    const epoch: RevocationEpochRecord = { changedAtMs: clock.nowMs() };
    const operations: Operation[] = [{ type: 'put', key: epochKey, value: encodeRecord(epoch) }];
    const accept = (revision: number): void => revocations.epochs.accept(epochKey, epoch, revision);
    for (let from = entriesAtOnce; from < certificates.length; from += entriesAtOnce) {
      const part = `${suffix}-${from / entriesAtOnce + 1}`;
      const more = removalRevocation({
        cluster,
        node,
        by,
        suffix: part,
        certificates: certificates.slice(from, from + entriesAtOnce),
        nowMs: clock.nowMs(),
      });
      const key = layout.revocation(cluster, more.name);
      const { revision } = await store.transact(
        [],
        [{ type: 'put', key, value: encodeRecord(more) }, this.#revoked(more, by), ...operations],
      );
      revocations.objects.accept(key, more, revision);
      accept(revision);
    }
    if (certificates.length === 0) return { operations, accept };
    const record = removalRevocation({
      cluster,
      node,
      by,
      suffix,
      certificates: certificates.slice(0, entriesAtOnce),
      nowMs: clock.nowMs(),
    });
    const key = layout.revocation(cluster, record.name);
    return {
      operations: [...operations, { type: 'put', key, value: encodeRecord(record) }, this.#revoked(record, by)],
      accept: (revision) => {
        revocations.objects.accept(key, record, revision);
        accept(revision);
      },
    };
  }

  #revoked(record: RevocationRecord, by: string): Operation {
    const { cluster, name, description } = record;
    const message = `created RenewRevocation ${name}: ${description}`;
    const details = { ...revocationDetails(record), by };
    return this.#options.events.operation({ cluster, actor: 'coordinator', reason: 'RenewRevocationApplied', message, details });
  }

  #removedRecords(node: NodeRecord, certificates: readonly RemovedCertificate[], by: string): [string, RemovedNodeRecord][] {
    const { cluster, name, role } = node;
    const identities = certificates.filter(({ isIdentity }) => isIdentity).map(({ serial }) => serial);
    const identitySerials = [...new Set([...node.identitySerials, ...identities])].slice(0, maxIdentities);
    const record: RemovedNodeRecord = { cluster, name, role, removedAtMs: this.#options.clock.nowMs(), by, identitySerials, returned: 0 };
    return identitySerials.map((serial) => [layout.removedNode(cluster, serial), record]);
  }
}

/** What the machine that goes has said, and was given, says nothing of the one that comes. */
function withoutTraces({ compares, operations }: NodeWrite, cluster: string, name: string): NodeWrite {
  return {
    compares,
    operations: [
      ...operations,
      { type: 'delete', key: layout.nodeStatus(cluster, name) },
      { type: 'delete', key: layout.repairWindow(cluster, name) },
      { type: 'deletePrefix', prefix: layout.currents(cluster, name) },
    ],
  };
}

function beingReplaced(name: string, id: string): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `node ${name} is being replaced by ${id}, which removes it itself; to delete it by hand, end that first ('evercert replacement cancel ${id}')`,
    { metadata: { node: name, replacement: id } },
  );
}
