import { EvercertError } from '@evercert/shared/errors';
import { effectiveUsages, usages as knownUsages, type LeafProfile, type Usage } from '@evercert/shared/x509';
import type { Authorities } from '../../ca/authorities.ts';
import { chainOf } from '../../ca/generations.ts';
import { matched } from '../../desired/desired-states.ts';
import type { CertificateIssuer, IssueOrder } from '../../issuance/issuer.ts';
import { describeMatch, type Revocations } from '../../revocation/index.ts';
import { layout } from '../../state/layout.ts';
import type { Model } from '../../state/model.ts';
import type { CertificateRecord } from '../../state/records.ts';
import type { Compare } from '../../store/index.ts';
import { certificateName, predecessorNames } from './certificate-names.ts';
import { backdateMs, lifetimeMs } from './lifetime.ts';
import { isNodeItself, nodeOf } from './rules.ts';
import { type NodeStanding, standingFault } from './standing.ts';
import type { RequestedCertificate, Requester, Signer } from './types.ts';

export interface RequestCertificatesOptions {
  model: Model;
  authorities: Authorities;
  issuer: CertificateIssuer;
  revocations: Revocations;
  /** A node of this name was removed, and what it had may not have expired yet. */
  wasRemoved: (cluster: string, node: string) => boolean;
  /** A repair of this node is under way: the certificates in use do not count against new ones. */
  repairing: (cluster: string, node: string) => boolean;
  nowMs: () => number;
}

/** One CertificateSigningRequest, read. */
export interface CertificateOrder {
  cluster: string;
  signer: Signer;
  /** The object's name. */
  requestName: string;
  asked: RequestedCertificate;
  requester: Requester;
  expirationSeconds: number | undefined;
  /** DER. */
  csr: Buffer;
  /** How far notBefore is set back, at most. */
  backdateMs: number;
}

export interface IssuedCertificate {
  record: CertificateRecord;
  /** DER: itself, then the intermediates up to what nodes trust. */
  chain: Buffer[];
  fresh: boolean;
}

const maxAttempts = 3;

/** Issues what CertificateSigningRequests ask for, through the same gate as everything else: durable before it is told, once for each key, refused where it is revoked. */
export class RequestCertificates {
  readonly #options: RequestCertificatesOptions;

  constructor(options: RequestCertificatesOptions) {
    this.#options = options;
  }

  /** Why nothing of this kind is issued now, whoever approves it. Errors: Revoked names the entry; PermissionDenied: the node is gone, or banned. */
  refuse({ cluster, signer, asked, requester }: Pick<CertificateOrder, 'cluster' | 'signer' | 'asked' | 'requester'>): void {
    const node = nodeOf(asked);
    const byItself = node !== undefined && isNodeItself(requester, node);
    const fault = node === undefined ? undefined : standingFault(this.#standing(cluster, node), byItself);
    if (fault !== undefined) throw new EvercertError('PermissionDenied', fault, { metadata: { node: node ?? '' } });
    this.#refuseRevoked(cluster, signer, asked, byItself ? node : undefined);
  }

  /**
   * The certificate; the one that was issued before where the key has one already. Errors: those of `refuse`; InvalidCsr, WeakKey, KeyInUse, InvalidArgument (it can never be issued);
   * FailedPrecondition (the coordinator has no such cluster, no such CA, or it has expired); Overloaded, Conflict, StoreFailure.
   */
  async issue(order: CertificateOrder): Promise<IssuedCertificate> {
    for (let attempt = 1; ; attempt++) {
      try {
        const issued = await this.#issueOnce(order);
        return { ...issued, chain: chainOf(this.#options.model.authority(order.cluster, order.signer.ca), issued.record) };
      } catch (error) {
        // The node's record or the revocations changed between decision and commit: decide again.
        if (!(error instanceof EvercertError && error.code === 'Conflict') || attempt === maxAttempts) throw error;
      }
    }
  }

  async #issueOnce(order: CertificateOrder): Promise<{ record: CertificateRecord; fresh: boolean }> {
    const { cluster } = order;
    const { model, issuer, revocations } = this.#options;
    const unchanged = revocations.unchanged(cluster);
    const node = nodeOf(order.asked);
    const nodeUnchanged: Compare[] = node === undefined ? [] : [this.#unchanged(layout.node(cluster, node), model.nodes)];
    const clusterUnchanged = this.#unchanged(layout.cluster(cluster), model.clusters);
    const authorityUnchanged = this.#unchanged(layout.authority(cluster, order.signer.ca), model.authorities);
    this.refuse(order);
    const issueOrder = await this.#orderOf(order, node);
    const { record, fresh } = await issuer.issue(issueOrder, order.csr, () => ({
      compares: [unchanged, clusterUnchanged, authorityUnchanged, ...nodeUnchanged],
      operations: [],
    }));
    if (!fresh) this.#checkEarlier(record, issueOrder);
    return { record, fresh };
  }

  #unchanged(key: string, informer: { get: (key: string) => { modRevision: number } | undefined }): Compare {
    return { key, modRevision: informer.get(key)?.modRevision ?? 0 };
  }

  async #orderOf(order: CertificateOrder, node: string | undefined): Promise<IssueOrder> {
    const { cluster, signer, asked, requester } = order;
    const { model, authorities } = this.#options;
    const policy = model.cluster(cluster)?.policy;
    if (!policy) throw noCluster(cluster);
    const authority = model.authority(cluster, signer.ca);
    if (!authority) throw new EvercertError('FailedPrecondition', `cluster ${cluster} has no ${signer.ca}`);
    const lifeMs = lifetimeMs(order.expirationSeconds, policy.leafLifetimeSeconds);
    return {
      cluster,
      node: node ?? '',
      role: node === undefined ? undefined : model.node(cluster, node)?.role,
      name: certificateName(signer.kind, node, order.requestName),
      issuerName: signer.ca,
      issuer: await authorities.issuer(authority),
      issuerNotAfterMs: authority.notAfterMs,
      profile: profileOf(asked),
      lifetimeMs: lifeMs,
      specHash: '',
      reason: 'CertificateSigningRequest',
      actor: actorOf(requester),
      backdateMs: backdateMs(order.backdateMs, lifeMs),
    };
  }

  #standing(cluster: string, node: string): NodeStanding {
    const { model, revocations, wasRemoved } = this.#options;
    const record = model.node(cluster, node);
    const [serial] = record?.identitySerials ?? [];
    const issuedAtMs = model.currents.get(layout.current(cluster, node, 'identity'))?.record.issuedAtMs ?? 0;
    const match = serial === undefined ? undefined : revocations.matchSerial(cluster, serial, issuedAtMs);
    return {
      node,
      registered: record !== undefined,
      awaited: record?.replacement !== undefined && serial === undefined,
      removed: wasRemoved(cluster, node),
      identityRevokedBy: match && describeMatch(match),
    };
  }

  /** What would be issued counts; and what a node has in use, where it asks for its own successor. */
  #refuseRevoked(cluster: string, { kind }: Signer, asked: RequestedCertificate, node: string | undefined): void {
    const { revocations, model, repairing, nowMs } = this.#options;
    if (revocations.entries(cluster) === 0) return;
    const profile = profileOf(asked);
    const names = node === undefined ? [] : predecessorNames(kind);
    const applicant = { node: node ?? '', certificate: names[0] ?? asked.commonName };
    const question = { cluster, profile, nowMs: nowMs(), ignoreCurrent: node !== undefined && repairing(cluster, node), applicant };
    const currents = names.flatMap((name) => model.currents.get(layout.current(cluster, node ?? '', name))?.record ?? []);
    if (currents.length === 0) revocations.check(question);
    for (const current of currents) revocations.check({ ...question, current: matched(cluster, current) });
  }

  /** A key has one certificate (invariant 6): a request with the same key for something else does not get the wrong one. */
  #checkEarlier(record: CertificateRecord, { profile, issuerName, cluster }: IssueOrder): void {
    const same = (a: readonly string[], b: readonly string[]): boolean =>
      [...new Set(a)].sort().join('\0') === [...new Set(b)].sort().join('\0');
    const lower = (names: readonly string[]): string[] => names.map((name) => name.toLowerCase());
    const usages = effectiveUsages(profile.usages, record.keyAlgorithm.startsWith('rsa'));
    const fits =
      record.issuer === issuerName &&
      record.commonName === profile.commonName &&
      same(record.organizations, profile.organizations) &&
      same(lower(record.dnsNames), lower(profile.dnsNames)) &&
      same(record.ipAddresses, profile.ipAddresses) &&
      same(record.uris, profile.uris) &&
      same(record.usages, usages);
    if (!fits)
      throw new EvercertError(
        'KeyInUse',
        `the public key has certificate ${record.serial} already, which says something else: make a new key`,
      );
    const [match] = this.#options.revocations.matchIssued({ ...record, cluster });
    if (match)
      throw new EvercertError('Revoked', `certificate ${record.serial} of this key is revoked by ${describeMatch(match)}: make a new key`);
  }
}

/** Extensions but the names are not taken from the request. */
function profileOf({ commonName, organizations, dnsNames, ipAddresses, uris, usages }: RequestedCertificate): LeafProfile {
  return {
    commonName,
    organizations: [...organizations],
    dnsNames: [...dnsNames],
    ipAddresses: [...ipAddresses],
    uris: [...uris],
    usages: knownUsages.filter((usage: Usage) => usages.includes(usage)),
  };
}

export function noCluster(cluster: string): EvercertError {
  return new EvercertError('FailedPrecondition', `cluster ${cluster} is not known here: 'evercert cluster create ${cluster}'`);
}

/** As events tell it. */
export function actorOf({ username }: Requester): string {
  return `kubernetes/${username.slice(0, 256)}`;
}
