import { EvercertError } from '@evercert/shared/errors';
import type { RoleName } from '@evercert/shared/manifest';
import type { LeafProfile, PreparedIssuer } from '@evercert/shared/x509';
import type { ControlCa } from '../ca/control-ca.ts';
import { chainOf } from '../ca/generations.ts';
import { identityName, type NodeName, nodeUriOf } from '../identity-uris.ts';
import { currentCertificate } from '../issuance/current.ts';
import type { Alongside, CertificateIssuer, Issued, IssueOrder } from '../issuance/issuer.ts';
import { canonicalAddress, checkNodeName } from '../nodes/names.ts';
import { notAccepted } from '../nodes/not-accepted.ts';
import { type NodeRegistry, nodeNotFound } from '../nodes/registry.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { fingerprintOf } from '../state/fingerprint.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import {
  type CertificateRecord,
  decodeRecord,
  encodeRecord,
  type NodeRecord,
  type PublicKeyRecord,
  type TokenRecord,
} from '../state/records.ts';
import type { Compare, Store } from '../store/index.ts';
import { checkRedemption, checkSecret, parseToken } from './tokens.ts';

export { identityName };

/** Renewals may overlap: so many serials of one node are accepted, the newest first. */
const acceptedIdentities = 4;

export interface EnrollOrder {
  token: string;
  nodeName: string;
  role?: RoleName | undefined;
  csr: Uint8Array;
  addresses: string[];
}

export interface Enrolled {
  record: CertificateRecord;
  node: NodeRecord;
}

export interface NodeIdentitiesOptions {
  store: Store;
  model: Model;
  registry: NodeRegistry;
  issuer: CertificateIssuer;
  controlCa: ControlCa;
  revocations: Revocations;
  /** A node of this name was removed, and what it had may not have expired yet. */
  wasRemoved: (cluster: string, node: string) => boolean;
  nowMs: () => number;
}

/** Gives nodes their identities: by a bootstrap token at first, then on the identity that they have. */
export class NodeIdentities {
  readonly #store: Store;
  readonly #model: Model;
  readonly #registry: NodeRegistry;
  readonly #issuer: CertificateIssuer;
  readonly #controlCa: ControlCa;
  readonly #revocations: Revocations;
  readonly #wasRemoved: (cluster: string, node: string) => boolean;
  readonly #nowMs: () => number;

  constructor(options: NodeIdentitiesOptions) {
    this.#store = options.store;
    this.#model = options.model;
    this.#registry = options.registry;
    this.#issuer = options.issuer;
    this.#controlCa = options.controlCa;
    this.#revocations = options.revocations;
    this.#wasRemoved = options.wasRemoved;
    this.#nowMs = options.nowMs;
  }

  /**
   * Redeems a token: node, identity and the token's count change in one transaction. The same token, name and key again get the same answer, also when the token is used up or has
   * expired meanwhile. A node that has joined before joins again only with a token that names it.
   *
   * Errors: InvalidToken, TokenExpired, TokenUsedUp, TokenMismatch, AlreadyExists, Revoked (the node's identity, and the token is older than the revocation), and those of
   * CertificateIssuer.issue.
   */
  async enroll(order: EnrollOrder): Promise<Enrolled> {
    const parts = parseToken(order.token);
    const entry = await this.#store.get(layout.token(parts.id));
    const token = checkSecret(entry && decodeRecord<TokenRecord>(entry.key, entry.value), parts);
    checkNodeName(order.nodeName);
    const { cluster } = token;
    const earlier = await this.#registry.read(cluster, order.nodeName);
    const node = await this.#joined(token, order, earlier?.record);
    const unchanged = this.#revocations.unchanged(cluster);
    await this.#refuseRevoked(cluster, order.nodeName, token.createdAtMs);
    let written = node;
    const ca = await this.#signing();
    const issueOrder = { ...this.#order(node, ca), reason: 'Enrolled', actor: `token/${token.id}`, tokenId: token.id };
    const issued = await this.#issuer.issue(issueOrder, order.csr, async (record) => {
      // Only a request with a new key comes here: a repeat has been answered before.
      checkRedemption(token, { nodeName: order.nodeName, role: order.role, nowMs: this.#nowMs() });
      this.#checkRejoin(token, earlier?.record);
      written = withIdentity(node, record, []);
      const { compares, operations } = await this.#registry.write(written, earlier);
      const key = layout.token(token.id);
      return {
        compares: [...compares, { key, modRevision: entry?.modRevision ?? 0 }, unchanged, ca.unchanged],
        operations: [...operations, { type: 'put', key, value: encodeRecord<TokenRecord>({ ...token, uses: token.uses + 1 }) }],
      };
    });
    return { record: this.#answer(issued, token.id), node: this.#accept(written, issued) };
  }

  /**
   * Renews the identity of a node that called with a valid one, `serial`. Errors: NotFound, Unauthenticated (it was withdrawn while the call was under way), Revoked, and those of
   * CertificateIssuer.issue.
   */
  async renew({ cluster, name }: NodeName, csr: Uint8Array, serial: string): Promise<CertificateRecord> {
    const earlier = await this.#registry.read(cluster, name);
    if (!earlier) throw nodeNotFound(cluster, name);
    if (!earlier.record.identitySerials.includes(serial)) throw notAccepted(name, serial);
    const unchanged = this.#revocations.unchanged(cluster);
    await this.#refuseRevoked(cluster, name);
    let written = earlier.record;
    const ca = await this.#signing();
    const order = { ...this.#order(earlier.record, ca), reason: 'Scheduled', actor: `node/${cluster}/${name}` };
    const issued = await this.#issuer.issue(order, csr, async (record) => {
      written = withIdentity(earlier.record, record, earlier.record.identitySerials);
      const { compares, operations } = await this.#registry.write(written, earlier);
      return { compares: [...compares, unchanged, ca.unchanged], operations };
    });
    this.#accept(written, issued);
    return issued.record;
  }

  /** What is delivered for an identity, DER: itself, then the intermediates up to what nodes trust. */
  chainOf(record: CertificateRecord): Buffer[] {
    return chainOf(this.#controlCa.record, record);
  }

  /** SHA-256 of an identity that is accepted of a node, as it was recorded; undefined: that is not known any more. */
  async recordedFingerprint(node: NodeRecord, serial: string): Promise<string | undefined> {
    const known = this.#model.identityFingerprint(node, serial);
    if (known !== undefined) return known;
    const entry = await this.#store.get(layout.certificate(node.cluster, serial));
    return entry && fingerprintOf(decodeRecord<CertificateRecord>(entry.key, entry.value));
  }

  /** The identity in force of a node, if it was issued for this key: a repeat of a request whose answer was lost. */
  async newestByKey(node: NodeRecord, spkiSha256: string): Promise<CertificateRecord | undefined> {
    const owner = await this.#store.get(layout.publicKey(spkiSha256));
    const { cluster, node: name, serial } = owner ? decodeRecord<PublicKeyRecord>(owner.key, owner.value) : {};
    if (serial === undefined || cluster !== node.cluster || name !== node.name || serial !== node.identitySerials[0]) return undefined;
    const entry = await this.#store.get(layout.certificate(cluster, serial));
    return entry && decodeRecord<CertificateRecord>(entry.key, entry.value);
  }

  /**
   * A new identity for a node that proved the key of the one that it has, `serial`; all earlier ones are accepted no more. What is given alongside is compared and written in the same
   * transaction. Errors: NotFound, Revoked, Conflict (the node has another identity by now), and those of CertificateIssuer.issue.
   */
  async recover({ cluster, name }: NodeName, csr: Uint8Array, serial: string, alongside: Alongside): Promise<CertificateRecord> {
    const earlier = await this.#registry.read(cluster, name);
    if (!earlier) throw nodeNotFound(cluster, name);
    if (earlier.record.identitySerials[0] !== serial)
      throw new EvercertError('Conflict', `node ${name} got another identity meanwhile: try again`);
    const unchanged = this.#revocations.unchanged(cluster);
    await this.#refuseRevoked(cluster, name);
    let written = earlier.record;
    const ca = await this.#signing();
    const order = { ...this.#order(earlier.record, ca), reason: 'Recovered', actor: `node/${cluster}/${name}` };
    const issued = await this.#issuer.issue(order, csr, async (record) => {
      written = withIdentity(earlier.record, record, []);
      const { compares, operations } = await this.#registry.write(written, earlier);
      return {
        compares: [...compares, unchanged, ca.unchanged, ...alongside.compares],
        operations: [...operations, ...alongside.operations],
      };
    });
    this.#accept(written, issued);
    return issued.record;
  }

  /**
   * Nothing but the serial number of an identity can be matched: it has no group, no DNS name and no address.
   * A token that was made after its revocation is the admin's word that the node may have another; a repair is none (invariant 12).
   */
  async #refuseRevoked(cluster: string, node: string, tokenCreatedAtMs = 0): Promise<void> {
    if (this.#revocations.entries(cluster) === 0) return;
    const current = await currentCertificate(this.#store, cluster, node, identityName);
    const allowed = current && this.#revocations.matchIssued(current).every(({ addedAtMs }) => addedAtMs < tokenCreatedAtMs);
    this.#revocations.check({
      cluster,
      current,
      profile: nodeIdentityProfile(cluster, node),
      nowMs: this.#nowMs(),
      ignoreCurrent: allowed === true,
      applicant: { node, certificate: identityName },
    });
  }

  #accept(node: NodeRecord, { fresh, revision }: Issued): NodeRecord {
    if (fresh) this.#model.nodes.accept(layout.node(node.cluster, node.name), node, revision);
    return node;
  }

  /** A key that was answered before must have come by this very token. */
  #answer({ record, fresh }: Issued, tokenId: string): CertificateRecord {
    if (!fresh && record.tokenId !== tokenId) {
      throw new EvercertError('KeyInUse', 'the public key belongs to an identity that another token brought: make a new key');
    }
    return record;
  }

  #checkRejoin(token: TokenRecord, existing: NodeRecord | undefined): void {
    if (!existing) return;
    if (existing.identitySerials.length === 0) {
      // The old machine may still hold a token that lets any node join.
      if (existing.replacement && token.replacementId !== existing.replacement.id)
        throw beingReplaced(existing.name, existing.replacement.id);
      return;
    }
    if (token.nodeName === existing.name) return;
    throw new EvercertError(
      'AlreadyExists',
      `node ${existing.name} has joined already: to let it join again, make a token for it by name ('evercert token create --node-name ${existing.name}')`,
      { metadata: { node: existing.name } },
    );
  }

  /** The node as it will be once it has joined. */
  async #joined(token: TokenRecord, order: EnrollOrder, existing: NodeRecord | undefined): Promise<NodeRecord> {
    if (existing && existing.role !== token.role) {
      throw new EvercertError(
        'TokenMismatch',
        `node ${existing.name} is registered as ${existing.role}, the token is for role ${token.role}`,
      );
    }
    const base: NodeRecord = {
      cluster: token.cluster,
      name: order.nodeName,
      role: token.role,
      labels: { ...existing?.labels, ...token.labels },
      registeredAddresses: [...new Set([...(existing?.registeredAddresses ?? []), ...token.addresses.map(canonicalAddress)])],
      claimedAddresses: existing?.claimedAddresses ?? [],
      dnsNames: [...new Set([...(existing?.dnsNames ?? []), ...token.dnsNames])],
      createdAtMs: existing?.createdAtMs ?? this.#nowMs(),
      identitySerials: existing?.identitySerials ?? [],
      identityNotAfterMs: existing?.identityNotAfterMs ?? 0,
      // What a machine has from before its node was removed is revoked: it gets everything anew.
      renewIfIssuedBeforeMs:
        existing?.renewIfIssuedBeforeMs ?? (this.#wasRemoved(token.cluster, order.nodeName) ? { '*': this.#nowMs() } : {}),
      ...(existing?.cordon && { cordon: existing.cordon }),
      ...(existing?.replacement && { replacement: existing.replacement }),
    };
    // What is refused is told when the node connects: as yet, anybody may be using its name.
    const { accepted } = await this.#registry.decideClaims(base, order.addresses);
    return { ...base, claimedAddresses: accepted };
  }

  /** By what is signed now; a key that is replaced meanwhile signs nothing more. */
  async #signing(): Promise<Signing> {
    const { modRevision } = this.#controlCa.cached;
    return { issuer: await this.#controlCa.issuer(), unchanged: { key: layout.controlCa, modRevision } };
  }

  #order(node: NodeRecord, { issuer }: Signing): Omit<IssueOrder, 'reason' | 'actor'> {
    const policy = this.#model.cluster(node.cluster)?.policy;
    if (!policy) throw new EvercertError('NotFound', `cluster ${node.cluster} does not exist (any more)`);
    return {
      cluster: node.cluster,
      node: node.name,
      role: node.role,
      name: identityName,
      issuerName: 'control-ca',
      issuer,
      issuerNotAfterMs: issuer.notAfter.getTime(),
      profile: nodeIdentityProfile(node.cluster, node.name),
      lifetimeMs: policy.identityLifetimeSeconds * 1000,
      specHash: '',
      // An answer by a key that nobody trusts any more opens no door: the same request gets another.
      outdated: (record) => !this.#controlCa.trusts(record),
    };
  }
}

interface Signing {
  issuer: PreparedIssuer;
  unchanged: Compare;
}

/** The node with a new identity, and those of `earlier` that are still accepted. */
function withIdentity(node: NodeRecord, record: CertificateRecord, earlier: readonly string[]): NodeRecord {
  const identitySerials = [record.serial, ...earlier].slice(0, acceptedIdentities);
  const fingerprints = { ...node.identityFingerprints, [record.serial]: fingerprintOf(record) };
  const identityFingerprints = Object.fromEntries(Object.entries(fingerprints).filter(([serial]) => identitySerials.includes(serial)));
  return { ...node, identitySerials, identityFingerprints, identityNotAfterMs: record.notAfterMs };
}

function beingReplaced(name: string, id: string): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `node ${name} is being replaced by ${id}: only its new machine may join; to join another, end the replacement first ('evercert replacement cancel ${id}')`,
    { metadata: { node: name, replacement: id } },
  );
}

function nodeIdentityProfile(cluster: string, node: string): LeafProfile {
  return {
    commonName: node,
    organizations: [],
    dnsNames: [],
    ipAddresses: [],
    uris: [nodeUriOf({ cluster, name: node })],
    usages: ['digital signature', 'client auth'],
  };
}
