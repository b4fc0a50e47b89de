import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { parseDocuments, type RoleName, toYaml } from '@evercert/shared/manifest';
import { clusterNotFound } from '../clusters/clusters.ts';
import { tokenDetails } from '../events/details.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { canonicalAddress, checkNodeName } from '../nodes/names.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { encodeRecord, type TokenRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';
import { hashSecret, newSalt, newToken } from './tokens.ts';

export interface TokenOrder {
  cluster: string;
  role: RoleName | undefined;
  /** Empty: any name. */
  nodeName: string;
  /** Absent: 24 h. */
  lifetimeSeconds: number | undefined;
  /** 0: unlimited. */
  maxUses: number;
  description: string;
  labels: Record<string, string>;
  addresses: string[];
  dnsNames: string[];
  /** Made for the new node of a replacement: it alone lets a node join that is being replaced. */
  replacementId?: string;
  /** For the cluster's API server, too: groups of its user there. Whoever orders it writes the Secret. */
  kubernetes?: { groups: string[] } | undefined;
}

/** A token that is not made yet. */
export interface TokenDraft {
  /** The whole of it, to be told once. */
  token: string;
  record: TokenRecord;
  compares: Compare[];
  operations: Operation[];
  accept: (revision: number) => void;
}

const defaultLifetimeSeconds = 24 * 3600;
const maxLifetimeSeconds = 30 * 86_400;
const maxTokens = 10_000;
const maxGroups = 20;
/** https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#bootstrap-token-secret-format */
const groupPattern = /^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/;

export interface TokenAdminOptions {
  store: Store;
  model: Model;
  events: EventRecorder;
  clock: Clock;
}

/** Makes and removes bootstrap tokens. */
export class TokenAdmin {
  readonly #options: TokenAdminOptions;

  constructor(options: TokenAdminOptions) {
    this.#options = options;
  }

  /** The whole token is returned this once; only its hash is kept. Errors: InvalidArgument, NotFound (the cluster). */
  async create(order: TokenOrder, actor: string): Promise<{ token: string; record: TokenRecord }> {
    const { token, record, compares, operations, accept } = this.draft(order, actor);
    const { succeeded, revision } = await this.#options.store.transact(compares, operations);
    if (!succeeded) throw new EvercertError('Conflict', 'the token id was taken: try again');
    accept(revision);
    return { token, record };
  }

  /** What it takes to make a token, for a transaction with something else. Errors: as `create`. */
  draft(order: TokenOrder, actor: string): TokenDraft {
    const { model, events, clock } = this.#options;
    const lifetimeSeconds = order.lifetimeSeconds ?? defaultLifetimeSeconds;
    this.#check(order, lifetimeSeconds);
    const { id, secret } = newToken();
    const salt = newSalt();
    const nowMs = clock.nowMs();
    const record: TokenRecord = {
      id,
      salt,
      secretHash: hashSecret(secret, salt),
      cluster: order.cluster,
      role: order.role ?? 'worker',
      nodeName: order.nodeName,
      createdAtMs: nowMs,
      expiresAtMs: nowMs + lifetimeSeconds * 1000,
      maxUses: order.maxUses,
      uses: 0,
      description: order.description.slice(0, 256),
      labels: order.labels,
      addresses: order.addresses.map(canonicalAddress),
      dnsNames: order.dnsNames,
      ...(order.replacementId !== undefined && { replacementId: order.replacementId }),
      ...(order.kubernetes && { kubernetes: { groups: [...new Set(order.kubernetes.groups)] } }),
    };
    const key = layout.token(id);
    const message = `created bootstrap token ${id} for ${record.role} ${record.nodeName || 'nodes'} until ${new Date(record.expiresAtMs).toISOString()}`;
    return {
      token: `${id}.${secret}`,
      record,
      compares: [{ key, modRevision: 0 }],
      operations: [
        { type: 'put', key, value: encodeRecord(record) },
        events.operation({ cluster: order.cluster, actor, reason: 'TokenCreated', message, details: tokenDetails(record) }),
      ],
      accept: (revision) => model.tokens.accept(key, record, revision),
    };
  }

  /** NotFound: no such token. */
  async remove(id: string, actor: string): Promise<void> {
    const { store, model, events } = this.#options;
    const key = layout.token(id);
    const cached = model.tokens.get(key);
    if (!cached) throw new EvercertError('NotFound', `tokens "${id.slice(0, 6)}" not found`);
    const { cluster } = cached.record;
    const { revision } = await store.transact(
      [],
      [
        { type: 'delete', key },
        events.operation({ cluster, actor, reason: 'TokenDeleted', message: `deleted bootstrap token ${id}`, details: { tokenId: id } }),
      ],
    );
    model.tokens.drop(key, revision);
  }

  #check(order: TokenOrder, lifetimeSeconds: number): void {
    const { model } = this.#options;
    if (!model.cluster(order.cluster)) throw clusterNotFound(order.cluster);
    if (order.role === undefined) throw new EvercertError('InvalidArgument', 'role: expected control-plane or worker');
    if (order.nodeName !== '') checkNodeName(order.nodeName);
    if (lifetimeSeconds <= 0 || lifetimeSeconds > maxLifetimeSeconds) {
      throw new EvercertError('InvalidArgument', 'lifetime: expected more than 0 and at most 720h');
    }
    if (order.maxUses < 0 || !Number.isInteger(order.maxUses))
      throw new EvercertError('InvalidArgument', 'max_uses: expected 0 (unlimited) or more');
    if (order.nodeName === '' && (order.addresses.length > 0 || order.dnsNames.length > 0)) {
      throw new EvercertError('InvalidArgument', 'addresses and DNS names can only be given to a token for one node: name it (node_name)');
    }
    if (order.addresses.length > 32 || order.dnsNames.length > 32)
      throw new EvercertError('InvalidArgument', 'at most 32 addresses and 32 DNS names');
    checkFacts(order, order.role);
    if (order.kubernetes) checkGroups(order.kubernetes.groups);
    if (model.tokens.list().length >= maxTokens)
      throw new EvercertError('FailedPrecondition', `there are ${maxTokens} tokens already: delete some`);
  }
}

/** As kube-apiserver checks them when a kubelet comes with the token: it takes no other. */
function checkGroups(groups: readonly string[]): void {
  const wrong = groups.find((group) => !groupPattern.test(group));
  if (wrong !== undefined)
    throw new EvercertError(
      'InvalidArgument',
      `kubernetes_groups: ${JSON.stringify(wrong.slice(0, 100))} is no group of bootstrap tokens; expected "system:bootstrappers:" and then lower-case letters, digits, colons and hyphens`,
    );
  if (groups.length > maxGroups) throw new EvercertError('InvalidArgument', `kubernetes_groups: expected at most ${maxGroups}`);
}

/** By the rules for Node documents: a token gives a node what such a document would. */
function checkFacts({ nodeName, labels, addresses, dnsNames }: TokenOrder, role: RoleName): void {
  const name = nodeName === '' ? 'any' : nodeName;
  const { faults } = parseDocuments(toYaml({ kind: 'Node', metadata: { name, labels }, spec: { role, addresses, dnsNames } }), {
    file: 'token',
  });
  if (faults.length === 0) return;
  // Lines would be those of a text that nobody has written.
  const named = faults.map(({ field, message }) => ({ field, message }));
  throw new EvercertError('InvalidArgument', 'the token would give a node what no node can have; nothing was made', { faults: named });
}
