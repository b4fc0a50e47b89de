import { EvercertError } from '@evercert/shared/errors';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import { type Authorities, watchedOnly } from '../ca/authorities.ts';
import { crossesBehind } from '../ca/control-chain.ts';
import { chainOf, issuingGeneration, urlsOf } from '../ca/generations.ts';
import type { DesiredStates } from '../desired/desired-states.ts';
import { notAccepted } from '../nodes/not-accepted.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { CertificateRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import { currentCertificate } from './current.ts';
import type { CertificateIssuer } from './issuer.ts';

export interface DeclaredRequest {
  cluster: string;
  node: string;
  name: string;
  csr: Uint8Array;
  specHash: string;
  reason: string;
  /** Of the identity that the node called with. */
  identitySerial: string;
}

const maxAttempts = 3;

const reasons = new Set(['Initial', 'Scheduled', 'Requested', 'SpecChanged', 'FileDamaged']);

export interface DeclaredCertificatesOptions {
  model: Model;
  desired: DesiredStates;
  authorities: Authorities;
  issuer: CertificateIssuer;
  store: Store;
  revocations: Revocations;
  /** A repair of this node is under way: the certificate in use does not count against a new one. */
  repairing?: (cluster: string, node: string) => boolean;
  nowMs: () => number;
}

/** Issues what a manifest declares for a node, as it declares it. */
export class DeclaredCertificates {
  readonly #model: Model;
  readonly #desired: DesiredStates;
  readonly #authorities: Authorities;
  readonly #issuer: CertificateIssuer;

  readonly #store: Store;
  readonly #revocations: Revocations;
  readonly #repairing: (cluster: string, node: string) => boolean;
  readonly #nowMs: () => number;

  constructor(options: DeclaredCertificatesOptions) {
    this.#model = options.model;
    this.#desired = options.desired;
    this.#authorities = options.authorities;
    this.#issuer = options.issuer;
    this.#store = options.store;
    this.#revocations = options.revocations;
    this.#repairing = options.repairing ?? (() => false);
    this.#nowMs = options.nowMs;
  }

  /**
   * Errors: NotFound (not declared for this node), Unauthenticated (its identity was withdrawn while the call was under way), StaleSpec (the agent acts on an old declaration), Revoked (the certificate in use, or what would be issued), and those of
   * CertificateIssuer.issue.
   */
  async issue(request: DeclaredRequest): Promise<CertificateRecord> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#issueOnce(request);
      } catch (error) {
        // The node's record changed between decision and commit (it renewed its identity, say): decide again.
        if (!(error instanceof EvercertError && error.code === 'Conflict') || attempt === maxAttempts) throw error;
      }
    }
  }

  /** What is delivered for a certificate, DER: itself, the intermediates up to what nodes trust, and the way there for components that still trust an earlier key of the CA alone. */
  chainOf(record: CertificateRecord): Buffer[] {
    const authority = this.#model.authority(record.cluster, record.issuer);
    const generation = authority && issuingGeneration(authority, record);
    return [...chainOf(authority, record), ...(generation ? crossesBehind(authority, generation, this.#nowMs()) : [])];
  }

  async #issueOnce(request: DeclaredRequest): Promise<CertificateRecord> {
    const { cluster, node, name } = request;
    const nodeKey = layout.node(cluster, node);
    const registered = this.#model.nodes.get(nodeKey);
    const declared = this.#desired.plan(cluster, node)?.resolved.certificates.find((certificate) => certificate.name === name);
    if (!registered || !declared) {
      throw new EvercertError('NotFound', `no manifest declares a certificate ${name} for node ${node}`, {
        metadata: { certificate: name, node },
      });
    }
    // The record that is compared at the commit: what is withdrawn after this fails there.
    if (!registered.record.identitySerials.includes(request.identitySerial)) throw notAccepted(node, request.identitySerial);
    if (request.specHash !== declared.specHash) {
      throw new EvercertError('StaleSpec', `the declaration of ${name} has changed: wait for the new desired state`, {
        retryAfterMs: 1000,
      });
    }
    const unchanged = this.#revocations.unchanged(cluster);
    const repaired = this.#repairing(cluster, node);
    await this.#refuseRevoked(request, declared, repaired);
    const authorityKey = layout.authority(cluster, declared.issuer);
    const { record: authority, modRevision = 0 } = this.#model.authorities.get(authorityKey) ?? {};
    if (!authority) throw new EvercertError('FailedPrecondition', `cluster ${cluster} has no ${declared.issuer}`);
    if (authority.keyId === '') throw watchedOnly(authority);
    const { record } = await this.#issuer.issue(
      {
        cluster,
        node,
        role: registered.record.role,
        name,
        issuerName: declared.issuer,
        issuer: await this.#authorities.issuer(authority),
        issuerNotAfterMs: authority.notAfterMs,
        profile: {
          commonName: declared.commonName,
          organizations: declared.organizations,
          dnsNames: declared.dnsNames,
          ipAddresses: declared.ipAddresses,
          uris: [],
          usages: declared.usages,
          ...(declared.revocationUrls && urlsOf(authority, declared.revocationUrls)),
        },
        keyAlgorithm: declared.keyAlgorithm,
        lifetimeMs: declared.lifetimeSeconds * 1000,
        specHash: declared.specHash,
        reason: reasons.has(request.reason) ? request.reason : 'Unspecified',
        actor: `node/${cluster}/${node}`,
      },
      request.csr,
      // All as it was when this was decided: a node that is deleted meanwhile gets nothing, and a key of the CA that was replaced meanwhile signs nothing more.
      () => {
        this.#refuseOutdated(request, repaired);
        const compares = [{ key: nodeKey, modRevision: registered.modRevision }, { key: authorityKey, modRevision }, unchanged];
        return { compares, operations: [] };
      },
    );
    return record;
  }

  /** A request may have waited in the queue since it was decided: what was declared must be so still, and a repair that it rests on must be under way still. */
  #refuseOutdated({ cluster, node, name, specHash }: DeclaredRequest, repaired: boolean): void {
    const declared = this.#desired.plan(cluster, node)?.resolved.certificates.find((certificate) => certificate.name === name);
    if (declared?.specHash === specHash && (!repaired || this.#repairing(cluster, node))) return;
    throw new EvercertError('Conflict', `the declaration of ${name}, or the repair of ${node}, changed meanwhile: try again`, {
      retryAfterMs: 100,
    });
  }

  /** Both count: the certificate in use, and what would be issued, so that a renamed manifest does not slip past an entry. */
  async #refuseRevoked({ cluster, node, name }: DeclaredRequest, profile: ResolvedCertificate, repaired: boolean): Promise<void> {
    if (this.#revocations.entries(cluster) === 0) return;
    const current = await currentCertificate(this.#store, cluster, node, name);
    const applicant = { node, certificate: name };
    this.#revocations.check({ cluster, current, profile, nowMs: this.#nowMs(), ignoreCurrent: repaired, applicant });
  }
}
