import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import type { RoleName } from '@evercert/shared/manifest';
import {
  effectiveUsages,
  issueLeaf,
  type KeyAlgorithm,
  type LeafProfile,
  newSerial,
  type ParsedCsr,
  type PreparedIssuer,
  parseCsr,
  verifyCsr,
} from '@evercert/shared/x509';
import { certificateDetails } from '../events/details.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { renewalSource } from '../events/renewal-log.ts';
import { fingerprintOf } from '../state/fingerprint.ts';
import { layout } from '../state/layout.ts';
import { type CertificateRecord, type CurrentRecord, decodeRecord, encodeRecord, type PublicKeyRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';
import type { Admission } from './admission.ts';

/** Everything that the coordinator decided about a certificate before it saw the request. */
export interface IssueOrder {
  cluster: string;
  /** Empty: it is no node's. */
  node: string;
  /** Absent: the node is not registered, or there is none. */
  role?: RoleName | undefined;
  name: string;
  issuerName: string;
  issuer: PreparedIssuer;
  issuerNotAfterMs: number;
  profile: LeafProfile;
  /** The key that the manifest asks for; absent: any on the list. */
  keyAlgorithm?: KeyAlgorithm;
  lifetimeMs: number;
  specHash: string;
  reason: string;
  actor: string;
  tokenId?: string;
  /** How far notBefore is set back; absent: as for all others. */
  backdateMs?: number;
  /** Whether what a key was answered with before is of no use any more: it gets another certificate then. Absent: it never is. */
  outdated?: (record: CertificateRecord) => boolean;
}

/** More to be written, and to be compared, in the transaction of the issue. */
export interface Alongside {
  compares: Compare[];
  operations: Operation[];
}

export interface Issued {
  record: CertificateRecord;
  /** False: an earlier request with this key was answered with this certificate already. */
  fresh: boolean;
  /** Revision of the transaction; 0 when not fresh. */
  revision: number;
}

/**
 * Turns a request into a certificate. From the request come the public key and the proof of possession, nothing else (invariant 5); the certificate is durable before it is
 * answered, and a repeat with the same key gets the same answer (invariant 6).
 */
export class CertificateIssuer {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #events: EventRecorder;
  readonly #admission: Admission;
  readonly #backdateMs: number;

  constructor(options: { store: Store; clock: Clock; events: EventRecorder; admission: Admission; backdateMs: number }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#events = options.events;
    this.#admission = options.admission;
    this.#backdateMs = options.backdateMs;
  }

  /**
   * Errors: InvalidCsr, WeakKey (the request); KeyInUse (another certificate has this key, or this one ran out); Overloaded; Conflict (something `alongside` compares changed
   * meanwhile: decide again); StoreFailure.
   *
   * @param alongside called once the request has proved its key, with the record that would be written.
   */
  issue(order: IssueOrder, csrDer: Uint8Array, alongside: (record: CertificateRecord) => Alongside | Promise<Alongside>): Promise<Issued> {
    return this.#admission.run(async () => {
      const csr = parseCsr(csrDer);
      this.#checkKey(order, csr);
      await verifyCsr(csr);
      const { record: earlier, owner = 0 } = await this.#earlier(order, csr.spkiSha256);
      if (earlier) return { record: earlier, fresh: false, revision: 0 };
      const record = await this.#sign(order, csr);
      return this.#commit(order, record, owner, await alongside(record));
    });
  }

  #checkKey({ keyAlgorithm }: IssueOrder, csr: ParsedCsr): void {
    if (keyAlgorithm !== undefined && csr.keyAlgorithm !== keyAlgorithm) {
      throw new EvercertError('InvalidCsr', `the request has an ${csr.keyAlgorithm} key, the manifest declares ${keyAlgorithm}`);
    }
  }

  /** The answer that this key was given before, and the revision at which it became its key. */
  async #earlier(order: IssueOrder, spkiSha256: string): Promise<{ record?: CertificateRecord; owner?: number }> {
    const owner = await this.#store.get(layout.publicKey(spkiSha256));
    if (!owner) return {};
    const { cluster, node, name, serial } = decodeRecord<PublicKeyRecord>(owner.key, owner.value);
    if (cluster !== order.cluster || node !== order.node || name !== order.name) {
      throw new EvercertError('KeyInUse', 'the public key belongs to another certificate already: make a new key for each certificate');
    }
    const key = layout.certificate(cluster, serial);
    const entry = await this.#store.get(key);
    const record = entry && decodeRecord<CertificateRecord>(key, entry.value);
    if (record && order.outdated?.(record)) return { owner: owner.modRevision };
    if (!record || record.notAfterMs <= this.#clock.nowMs()) {
      throw new EvercertError('KeyInUse', `the public key's certificate ${serial} has expired: make a new key`, { metadata: { serial } });
    }
    return { record, owner: owner.modRevision };
  }

  async #sign(order: IssueOrder, csr: ParsedCsr): Promise<CertificateRecord> {
    const issuedAtMs = this.#clock.nowMs();
    const notAfterMs = Math.min(issuedAtMs + order.lifetimeMs, order.issuerNotAfterMs);
    if (notAfterMs <= issuedAtMs) {
      throw new EvercertError('FailedPrecondition', `${order.issuerName} has expired: rotate it before anything can be issued`);
    }
    const serial = newSerial();
    const notBeforeMs = issuedAtMs - (order.backdateMs ?? this.#backdateMs);
    const certificate = await issueLeaf(order.issuer, {
      spki: csr.spki,
      keyAlgorithm: csr.keyAlgorithm,
      profile: order.profile,
      serial,
      notBefore: new Date(notBeforeMs),
      notAfter: new Date(notAfterMs),
    });
    return {
      cluster: order.cluster,
      node: order.node,
      name: order.name,
      issuer: order.issuerName,
      issuerSerial: order.issuer.serial,
      serial,
      ...named(order.profile),
      usages: effectiveUsages(order.profile.usages, csr.keyAlgorithm.startsWith('rsa')),
      keyAlgorithm: csr.keyAlgorithm,
      spkiSha256: csr.spkiSha256,
      specHash: order.specHash,
      issuedAtMs,
      notBeforeMs,
      notAfterMs,
      reason: order.reason,
      certificate: certificate.toString('base64'),
      ...(order.tokenId && { tokenId: order.tokenId }),
    };
  }

  async #commit(order: IssueOrder, record: CertificateRecord, owner: number, alongside: Alongside): Promise<Issued> {
    const { cluster, node, name, serial, notAfterMs, spkiSha256 } = record;
    const keys = { certificate: layout.certificate(cluster, serial), publicKey: layout.publicKey(spkiSha256) };
    faultPoint('coordinator.issue.before-commit');
    const { succeeded, revision } = await this.#store.transact(
      [{ key: keys.certificate, modRevision: 0 }, { key: keys.publicKey, modRevision: owner }, ...alongside.compares],
      [
        { type: 'put', key: keys.certificate, value: encodeRecord(record) },
        { type: 'put', key: keys.publicKey, value: encodeRecord<PublicKeyRecord>({ cluster, node, name, serial }) },
        { type: 'put', key: layout.current(cluster, node, name), value: encodeRecord(currentOf(record)) },
        this.#events.operation({
          cluster,
          node,
          actor: order.actor,
          reason: 'CertificateIssued',
          ...(order.role && { source: renewalSource(order.role) }),
          certificate: name,
          serial,
          message: `issued ${name} by ${order.issuerName} until ${new Date(notAfterMs).toISOString()} (${order.reason})`,
          details: certificateDetails(record),
        }),
        ...alongside.operations,
      ],
    );
    faultPoint('coordinator.issue.after-commit');
    if (succeeded) return { record, fresh: true, revision };
    // Lost a race: against the same request sent twice, or against a change of what the decision rested on.
    const { record: earlier } = await this.#earlier(order, spkiSha256);
    if (earlier) return { record: earlier, fresh: false, revision: 0 };
    throw new EvercertError('Conflict', 'the node or its token changed while the certificate was being issued: try again', {
      retryAfterMs: 100,
    });
  }
}

/** What is kept in memory of the newest certificate of each name. */
export function currentOf({ serial, specHash, issuedAtMs, notAfterMs, adoptedAtMs, ...rest }: CertificateRecord): CurrentRecord {
  const fingerprint = fingerprintOf(rest);
  const { issuer, issuerSerial, commonName, organizations, dnsNames, ipAddresses, uris } = rest;
  const issued = { issuer, ...(issuerSerial !== undefined && { issuerSerial }) };
  const adopted = adoptedAtMs === undefined ? {} : { adoptedAtMs };
  const names = { commonName, organizations, dnsNames, ipAddresses, uris };
  return { serial, ...issued, fingerprint, specHash, issuedAtMs, notAfterMs, ...adopted, ...names };
}

/** What a record keeps of a profile: what revocations and people look for. */
function named({
  commonName,
  organizations,
  dnsNames,
  ipAddresses,
  uris,
}: LeafProfile): Pick<CertificateRecord, 'commonName' | 'organizations' | 'dnsNames' | 'ipAddresses' | 'uris'> {
  return { commonName, organizations, dnsNames, ipAddresses, uris };
}
