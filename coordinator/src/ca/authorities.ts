import { type KeyObject, randomBytes } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { IssuerName } from '@evercert/shared/manifest';
import {
  createRootCertificate,
  type KeyAlgorithm,
  newSerial,
  type PreparedIssuer,
  parseCertificate,
  prepareIssuer,
} from '@evercert/shared/x509';
import type { KeyProvider } from '../keys/index.ts';
import { layout } from '../state/layout.ts';
import { type AuthorityRecord, decodeRecord, encodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';

/** Roots live ten years. */
const rootLifetimeMs = 10 * 365.25 * 86_400_000;

/** Common names as PKI.md and kubeadm have them. */
const commonNames: Record<IssuerName | 'control-ca', string> = {
  'cluster-ca': 'kubernetes-ca',
  'etcd-ca': 'etcd-ca',
  'front-proxy-ca': 'kubernetes-front-proxy-ca',
  'control-ca': 'evercert-control-ca',
};

/** Makes CAs and opens them for signing. */
export class Authorities {
  readonly #keys: KeyProvider;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #backdateMs: number;
  readonly #prepared = new Map<string, Promise<PreparedIssuer>>();

  constructor(options: { keys: KeyProvider; store: Store; clock: Clock; backdateMs: number }) {
    this.#keys = options.keys;
    this.#store = options.store;
    this.#clock = options.clock;
    this.#backdateMs = options.backdateMs;
  }

  /**
   * Makes key and root certificate of a CA. The key is durable; the record is the caller's to write in one transaction with what belongs to it. A key that a crash left without a
   * record is in no use: each attempt has an id of its own.
   */
  async create(cluster: string, name: IssuerName | 'control-ca', keyAlgorithm: KeyAlgorithm): Promise<AuthorityRecord> {
    const generation = randomBytes(4).toString('hex');
    const keyId = `${cluster.replace('_', '')}/${name}/${generation}`;
    const signer = await this.#keys.generate(keyId, keyAlgorithm);
    const nowMs = this.#clock.nowMs();
    const certificate = await createRootCertificate({
      commonName: commonNames[name],
      uniqueAttribute: generation,
      signer,
      serial: newSerial(),
      notBefore: new Date(nowMs - this.#backdateMs),
      notAfter: new Date(nowMs + rootLifetimeMs),
    });
    const { serial, notBefore, notAfter } = parseCertificate(certificate);
    const encoded = certificate.toString('base64');
    return {
      cluster,
      name,
      keyId,
      keyAlgorithm,
      serial,
      certificate: encoded,
      notBeforeMs: notBefore.getTime(),
      notAfterMs: notAfter.getTime(),
      bundle: [encoded],
      bundleVersion: 1,
    };
  }

  /** Takes a CA over that was made elsewhere; what `create` says of key and record holds here too. Certificates: DER, the CA's own first. Without a key, what it issued is only watched. */
  async import(
    cluster: string,
    name: IssuerName,
    certificates: readonly Buffer[],
    privateKey: KeyObject | undefined,
  ): Promise<AuthorityRecord> {
    const [certificate] = certificates;
    if (certificate === undefined) throw new EvercertError('InvalidArgument', `there is no certificate of ${name}`);
    const { serial, notBefore, notAfter, keyAlgorithm } = parseCertificate(certificate);
    const keyId = privateKey === undefined ? '' : `${cluster}/${name}/${randomBytes(4).toString('hex')}`;
    if (privateKey !== undefined) await this.#keys.import(keyId, privateKey);
    return {
      cluster,
      name,
      keyId,
      keyAlgorithm: keyAlgorithm ?? '',
      serial,
      certificate: certificate.toString('base64'),
      notBeforeMs: notBefore.getTime(),
      notAfterMs: notAfter.getTime(),
      bundle: certificates.map((der) => der.toString('base64')),
      bundleVersion: 1,
    };
  }

  /** Opens a CA for signing, once. FailedPrecondition: its key is not here. */
  async issuer(authority: AuthorityRecord): Promise<PreparedIssuer> {
    if (authority.keyId === '') throw watchedOnly(authority);
    const known = this.#prepared.get(authority.keyId);
    if (known !== undefined) return known;
    const opened = this.#keys.signer(authority.keyId).then((signer) => prepareIssuer(Buffer.from(authority.certificate, 'base64'), signer));
    this.#prepared.set(authority.keyId, opened);
    // A failure is not kept: the key may be readable again at the next call.
    opened.catch(() => this.#prepared.delete(authority.keyId));
    return opened;
  }

  /** Destroys keys whose records are gone. */
  async destroyKeys(keyIds: string[]): Promise<void> {
    for (const keyId of keyIds.filter((id) => id !== '')) {
      this.#prepared.delete(keyId);
      await this.#keys.delete(keyId);
    }
  }

  /** The CA of Evercert's own identities, made at the first start. P-256: its handshakes are what a herd of agents costs. */
  async controlCa(): Promise<AuthorityRecord> {
    const entry = await this.#store.get(layout.controlCa);
    if (entry) return decodeRecord<AuthorityRecord>(entry.key, entry.value);
    const record = await this.create(layout.controlScope, 'control-ca', 'ecdsa-p256');
    const { succeeded } = await this.#store.transact(
      [{ key: layout.controlCa, modRevision: 0 }],
      [{ type: 'put', key: layout.controlCa, value: encodeRecord(record) }],
    );
    if (!succeeded) throw new EvercertError('Conflict', 'another coordinator made the control CA at the same time: start again');
    return record;
  }
}

/** Whoever holds its key issues by it. */
export function watchedOnly({ cluster, name }: AuthorityRecord): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `the key of ${name} of cluster ${cluster} is not at this coordinator: its certificates are only watched, and none is issued; import the cluster with its keys to change that`,
  );
}

/** DER certificates that nodes must trust for this CA. */
export function trustAnchors(authority: AuthorityRecord): Buffer[] {
  return authority.bundle.map((der) => Buffer.from(der, 'base64'));
}
