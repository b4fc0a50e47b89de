import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { TokenAdmin, TokenDraft } from '../enrollment/token-admin.ts';
import type { EventRecorder, NewEvent } from '../events/recorder.ts';
import { canonicalAddress, checkNodeName } from '../nodes/names.ts';
import type { NodeRegistry } from '../nodes/registry.ts';
import type { NewNode } from '../provisioning/types.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { NodeRecord } from '../state/records.ts';
import type { Compare, Operation } from '../store/index.ts';
import type { ReplacementPauses } from './pauses.ts';
import type { RecordChange } from './records.ts';
import type { NodeRemoval } from './removal.ts';
import type { ReplacementRecord } from './types.ts';

export interface NodeSwapOptions {
  registry: NodeRegistry;
  model: Model;
  removal: NodeRemoval;
  tokens: Pick<TokenAdmin, 'draft'>;
  pauses: ReplacementPauses;
  events: EventRecorder;
  clock: Clock;
}

/** Parts of one transaction. */
interface Part {
  compares: Compare[];
  operations: Operation[];
  accept: (revision: number) => void;
}

/**
 * What a replacement does to nodes and tokens. Each method tells how a record changes and what is written with it in the same transaction, so that a crash leaves no node without its
 * record and no token that nobody knows.
 */
export class NodeSwap {
  readonly #options: NodeSwapOptions;

  constructor(options: NodeSwapOptions) {
    this.#options = options;
  }

  /**
   * The old node loses its identity and its certificates; it stays registered. Undefined: a pause has come between, or it shall not be any more. That is asked (`isStill`) only where memory has
   * seen all that the transaction compares: a renewal that lands meanwhile is either known to it, or keeps the transaction from being made.
   */
  async withdrawal(record: ReplacementRecord, isStill: () => boolean): Promise<RecordChange | undefined> {
    const { registry, removal, pauses, clock } = this.#options;
    const { cluster, node, id } = record;
    if (pauses.of(cluster)) return undefined;
    const unpaused = pauses.unchanged(cluster);
    const withdrawn: ReplacementRecord = { ...record, withdrawnAtMs: clock.nowMs() };
    const earlier = await registry.read(cluster, node);
    if (!earlier) return { record: withdrawn, compares: [{ key: layout.node(cluster, node), modRevision: 0 }, ...unpaused] };
    const after = this.#withoutIdentity(earlier.record, id);
    const order = { earlier, by: `replacement ${id}`, suffix: suffixOf(id), after };
    const part = await removal.ifStill(order, (read) => this.#isSeen(read) && isStill());
    if (!part) return undefined;
    const message = `withdrew the identity of node ${node}, which is replaced, and revoked its ${part.revoked} certificates that have not expired`;
    return {
      record: withdrawn,
      compares: [...part.compares, ...unpaused],
      operations: [...part.operations, this.#event(record, { node, reason: 'NodeWithdrawn', message })],
      accept: part.accept,
    };
  }

  /** FailedPrecondition: the name belongs to another node; InvalidArgument: it cannot be a node's. */
  async checkNew(record: ReplacementRecord, { name }: NewNode): Promise<void> {
    checkNodeName(name);
    const existing = await this.#options.registry.read(record.cluster, name);
    if (existing && name !== record.node) checkAdoptable(existing.record, record);
  }

  /** The new node is registered under its name. Errors: as checkNew; AlreadyExists: another node holds an address of it. */
  async registration(record: ReplacementRecord, told: NewNode): Promise<RecordChange> {
    const { registry } = this.#options;
    await this.checkNew(record, told);
    const existing = await registry.read(record.cluster, told.name);
    const base = existing?.record ?? this.#fresh(record, told.name);
    const addresses = told.addresses.map(canonicalAddress);
    const node: NodeRecord = {
      ...base,
      labels: { ...base.labels, ...told.labels },
      registeredAddresses: addresses.length > 0 ? [...new Set(addresses)] : base.registeredAddresses,
      dnsNames: [...new Set([...base.dnsNames, ...told.dnsNames])],
      replacement: { id: record.id },
    };
    const part = await this.#put(node, existing);
    return { record: { ...record, newNode: told.name, machine: told.machine }, ...part };
  }

  /** The old node's record goes, where the new node has another name. Undefined: it is gone. */
  async departure(record: ReplacementRecord): Promise<RecordChange | undefined> {
    const part = await this.#erasure(record.cluster, record.node, record.id);
    if (!part) return undefined;
    const { operations } = part;
    const message = `node ${record.node} was removed: another takes its place`;
    return { record, ...part, operations: [...operations, this.#event(record, { node: record.node, reason: 'NodeRemoved', message })] };
  }

  /** A token for the new node alone, recorded as it is made. */
  token(record: ReplacementRecord, lifetimeSeconds: number): { draft: TokenDraft; change: RecordChange } {
    const { tokens, model, clock } = this.#options;
    const draft = tokens.draft(
      {
        cluster: record.cluster,
        role: 'worker',
        nodeName: record.newNode,
        lifetimeSeconds,
        maxUses: 1,
        description: `for the new machine of replacement ${record.id}`,
        labels: {},
        addresses: [],
        dnsNames: [],
        replacementId: record.id,
      },
      `coordinator/replacement/${record.id}`,
    );
    const expired = record.tokenIds.filter((id) => (model.tokens.get(layout.token(id))?.record.expiresAtMs ?? 0) <= clock.nowMs());
    const kept = record.tokenIds.filter((id) => !expired.includes(id));
    const forgotten = this.#tokensGone(expired);
    return {
      draft,
      change: {
        record: { ...record, tokenIds: [...kept, draft.record.id] },
        compares: draft.compares,
        operations: [...draft.operations, ...forgotten.operations],
        accept: (revision) => {
          draft.accept(revision);
          forgotten.accept(revision);
        },
      },
    };
  }

  /** The attempt's machine is not wanted any more: whatever it got is withdrawn, and its tokens are gone. Undefined: it has joined after all, and that decides (`unless`). */
  async givingUp(record: ReplacementRecord, why: string, unless: (node: NodeRecord) => boolean): Promise<RecordChange | undefined> {
    const { registry, removal } = this.#options;
    const { cluster, newNode, id, attempt } = record;
    const earlier = await registry.read(cluster, newNode);
    if (earlier && unless(earlier.record)) return undefined;
    const part: Part = earlier
      ? await removal.of({
          earlier,
          by: `replacement ${id}`,
          suffix: `${suffixOf(id)}-${attempt}`,
          after: this.#withoutIdentity(earlier.record, id),
        })
      : { compares: [{ key: layout.node(cluster, newNode), modRevision: 0 }], operations: [], accept: () => {} };
    const tokens = this.#tokensGone(record.tokenIds);
    const event = this.#event(record, {
      node: newNode,
      reason: 'ReplacementAttemptFailed',
      warning: true,
      message: `attempt ${attempt}: ${why}`,
    });
    return {
      record: { ...record, discarding: why, message: why, tokenIds: [], failures: 0 },
      ...join(part, tokens, { compares: [], operations: [event], accept: () => {} }),
    };
  }

  /** After an attempt's machine is gone: a node of another name than the old one's goes with it. */
  async discarded(record: ReplacementRecord): Promise<Part> {
    const other = record.newNode !== '' && record.newNode !== record.node;
    return (other && (await this.#erasure(record.cluster, record.newNode, record.id))) || nothing;
  }

  /** The end of a replacement: its marks and tokens go. `erase`: nodes whose machines are gone and that nobody will join as. */
  async ending(record: ReplacementRecord, erase: readonly string[] = []): Promise<Part> {
    const { registry } = this.#options;
    const parts: Part[] = [this.#tokensGone(record.tokenIds)];
    for (const name of new Set([record.node, record.newNode])) {
      const earlier = name === '' ? undefined : await registry.read(record.cluster, name);
      if (!earlier || earlier.record.replacement?.id !== record.id) continue;
      const { replacement: _over, ...rest } = earlier.record;
      if (erase.includes(name)) parts.push((await this.#erasure(record.cluster, name, record.id)) ?? nothing);
      else parts.push(await this.#put(rest, earlier));
    }
    return join(...parts);
  }

  event(record: ReplacementRecord, event: Pick<NewEvent, 'reason' | 'message' | 'warning' | 'details'>): Operation {
    return this.#event(record, { node: record.node, ...event });
  }

  #event(
    { cluster, id, attempt, newNode }: ReplacementRecord,
    event: Pick<NewEvent, 'node' | 'reason' | 'message' | 'warning' | 'details'>,
  ): Operation {
    return this.#options.events.operation({
      cluster,
      actor: `coordinator/replacement/${id}`,
      source: 'certificate-renewal-worker',
      ...event,
      details: { replacementId: id, attempt, newNode, ...event.details },
    } as NewEvent);
  }

  /** Memory has what the store has. */
  #isSeen(read: readonly Compare[]): boolean {
    const { nodes, currents } = this.#options.model;
    return read.every(({ key, modRevision }) => ((nodes.get(key) ?? currents.get(key))?.modRevision ?? 0) === modRevision);
  }

  /** Registered again: what an admin said of it is kept, what the machine brought is not. */
  #withoutIdentity(node: NodeRecord, id: string): NodeRecord {
    return {
      ...node,
      claimedAddresses: [],
      identitySerials: [],
      identityNotAfterMs: 0,
      renewIfIssuedBeforeMs: { '*': this.#options.clock.nowMs() },
      replacement: { id },
    };
  }

  #fresh({ cluster, node, facts }: ReplacementRecord, name: string): NodeRecord {
    const same = name === node;
    return {
      cluster,
      name,
      role: 'worker',
      labels: same ? facts.labels : {},
      registeredAddresses: same ? facts.registeredAddresses : [],
      claimedAddresses: [],
      dnsNames: same ? facts.dnsNames : [],
      createdAtMs: this.#options.clock.nowMs(),
      identitySerials: [],
      identityNotAfterMs: 0,
      renewIfIssuedBeforeMs: {},
    };
  }

  async #put(node: NodeRecord, earlier: Awaited<ReturnType<NodeRegistry['read']>>): Promise<Part> {
    const { registry, model } = this.#options;
    const write = await registry.write(node, earlier);
    return { ...write, accept: (revision) => model.nodes.accept(layout.node(node.cluster, node.name), node, revision) };
  }

  async #erasure(cluster: string, name: string, id: string): Promise<Part | undefined> {
    const { registry, model } = this.#options;
    const earlier = await registry.read(cluster, name);
    if (!earlier || earlier.record.replacement?.id !== id) return undefined;
    return { ...registry.erase(earlier), accept: (revision) => model.nodes.drop(layout.node(cluster, name), revision) };
  }

  #tokensGone(ids: readonly string[]): Part {
    const keys = ids.map((id) => layout.token(id));
    return {
      compares: [],
      operations: keys.map((key): Operation => ({ type: 'delete', key })),
      accept: (revision) => {
        for (const key of keys) this.#options.model.tokens.drop(key, revision);
      },
    };
  }
}

const nothing: Part = { compares: [], operations: [], accept: () => {} };

function join(...parts: readonly Part[]): Part {
  return {
    compares: parts.flatMap(({ compares }) => compares),
    operations: parts.flatMap(({ operations }) => operations),
    accept: (revision) => {
      for (const { accept } of parts) accept(revision);
    },
  };
}

/** What is unique in a replacement's id, for names. */
function suffixOf(id: string): string {
  return id.replace(/^rp-/, '');
}

function checkAdoptable(node: NodeRecord, { id }: ReplacementRecord): void {
  if (node.replacement?.id === id) return;
  if (node.role === 'worker' && !node.replacement && node.identitySerials.length === 0) return;
  throw new EvercertError(
    'FailedPrecondition',
    `the provisioner calls the new machine ${node.name}, which is a node already (${node.role}, ${node.identitySerials.length > 0 ? 'joined' : 'registered'}): delete that node if its machine is gone, or see why the provisioner tells its name`,
    { metadata: { node: node.name } },
  );
}
