import { type KeyObject, randomBytes } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { IssuerName } from '@evercert/shared/manifest';
import {
  createCaCsr,
  createRootCertificate,
  issueCa,
  type KeyAlgorithm,
  newSerial,
  type PreparedIssuer,
  parseCertificate,
  prepareIssuer,
  spkiDer,
  toPem,
} from '@evercert/shared/x509';
import type { KeyProvider } from '../keys/index.ts';
import type { AuthorityGeneration, AuthorityRecord, AuthorityRequest } from '../state/records.ts';
import { acceptedGeneration } from './accept.ts';
import { isRoot, pathAbove } from './path.ts';

/** Roots live ten years. */
const rootLifetimeMs = 10 * 365.25 * 86_400_000;

/** Common names as PKI.md and kubeadm have them. */
const commonNames: Record<IssuerName | 'control-ca', string> = {
  'cluster-ca': 'kubernetes-ca',
  'etcd-ca': 'etcd-ca',
  'front-proxy-ca': 'kubernetes-front-proxy-ca',
  'control-ca': 'evercert-control-ca',
};

/** What a CA signs with; cluster and name are for messages. */
export type SigningGeneration = Pick<AuthorityGeneration, 'keyId' | 'serial' | 'certificate'> & Pick<AuthorityRecord, 'cluster' | 'name'>;

/** Makes CAs and opens them for signing. */
export class Authorities {
  readonly #keys: KeyProvider;
  readonly #clock: Clock;
  readonly #backdateMs: number;
  readonly #prepared = new Map<string, Promise<PreparedIssuer>>();

  constructor(options: { keys: KeyProvider; clock: Clock; backdateMs: number }) {
    this.#keys = options.keys;
    this.#clock = options.clock;
    this.#backdateMs = options.backdateMs;
  }

  /**
   * Makes key and root certificate of a CA. The key is durable; the record is the caller's to write in one transaction with what belongs to it. A key that a crash left without a
   * record is in no use: each attempt has an id of its own.
   */
  async create(cluster: string, name: IssuerName | 'control-ca', keyAlgorithm: KeyAlgorithm): Promise<AuthorityRecord> {
    const root = await this.#createRoot(cluster, name, keyAlgorithm);
    return { cluster, name, ...root, bundle: [root.certificate], bundleVersion: 1 };
  }

  /**
   * Makes key and root certificate of a CA's next generation, as `create` does, with a cross certificate by the present generation: who trusts only that one follows it to the next.
   */
  async createNext(authority: AuthorityRecord, keyAlgorithm: KeyAlgorithm): Promise<AuthorityGeneration> {
    const { cluster, name } = authority;
    const next = await this.#createRoot(cluster, name, keyAlgorithm);
    return { ...next, ...(await this.#crossSign(authority, next)) };
  }

  /** Makes key and request of a next generation that another CA is to sign. The key is durable; what is returned is the caller's to write. */
  async createRequest({ cluster, name }: AuthorityRecord, keyAlgorithm: KeyAlgorithm): Promise<AuthorityRequest> {
    const { keyId, attribute } = newKeyId(cluster, name);
    const signer = await this.#keys.generate(keyId, keyAlgorithm);
    return { keyId, keyAlgorithm, pem: toPem('CERTIFICATE REQUEST', await createCaCsr(signer, commonNameOf(name), attribute)) };
  }

  /** The next generation that a request and the certificate for it make. InvalidCertificate as of `acceptedGeneration`; NotFound: the request's key is gone. `others`: all CAs that are trusted anywhere here; no two may share a root. */
  async acceptCertificate(
    authority: AuthorityRecord,
    request: AuthorityRequest,
    chainPem: string,
    others: readonly AuthorityRecord[],
  ): Promise<AuthorityGeneration> {
    const { publicKey } = await this.#keys.signer(request.keyId);
    return acceptedGeneration({ authority, request, spki: spkiDer(publicKey), chainPem, others, nowMs: this.#clock.nowMs() });
  }

  async #createRoot(cluster: string, name: string, keyAlgorithm: KeyAlgorithm): Promise<AuthorityGeneration> {
    const { keyId, attribute } = newKeyId(cluster, name);
    const signer = await this.#keys.generate(keyId, keyAlgorithm);
    const nowMs = this.#clock.nowMs();
    const certificate = await createRootCertificate({
      commonName: commonNameOf(name),
      uniqueAttribute: attribute,
      signer,
      serial: newSerial(),
      notBefore: new Date(nowMs - this.#backdateMs),
      notAfter: new Date(nowMs + rootLifetimeMs),
    });
    const { serial, notBefore, notAfter } = parseCertificate(certificate);
    const times = { notBeforeMs: notBefore.getTime(), notAfterMs: notAfter.getTime() };
    return { keyId, keyAlgorithm, serial, certificate: certificate.toString('base64'), ...times };
  }

  /** Empty: the present generation is an intermediate that may have no CA below it. */
  async #crossSign(authority: AuthorityRecord, next: AuthorityGeneration): Promise<Pick<AuthorityGeneration, 'cross'>> {
    if (parseCertificate(Buffer.from(authority.certificate, 'base64')).pathLength === 0) return {};
    const { subjectDer, spki, notBefore } = parseCertificate(Buffer.from(next.certificate, 'base64'));
    const issuer = await this.issuer(authority);
    const notAfter = new Date(Math.min(next.notAfterMs, authority.notAfterMs));
    const cross = await issueCa(issuer, { subject: subjectDer, spki, serial: newSerial(), notBefore, notAfter });
    return { cross: cross.toString('base64') };
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
      ...aboveOf(certificates),
      bundle: certificates.map((der) => der.toString('base64')),
      bundleVersion: 1,
    };
  }

  /** Opens a generation of a CA for signing, once; a record stands for its current one. FailedPrecondition: its key is not here. */
  async issuer(generation: SigningGeneration): Promise<PreparedIssuer> {
    const { keyId, serial, certificate } = generation;
    if (keyId === '') throw watchedOnly(generation);
    const key = `${keyId}:${serial}`;
    const known = this.#prepared.get(key);
    if (known !== undefined) return known;
    const opened = this.#keys.signer(keyId).then((signer) => prepareIssuer(Buffer.from(certificate, 'base64'), signer));
    this.#prepared.set(key, opened);
    // A failure is not kept: the key may be readable again at the next call.
    opened.catch(() => this.#prepared.delete(key));
    return opened;
  }

  /** Destroys keys whose records are gone. */
  async destroyKeys(keyIds: string[]): Promise<void> {
    for (const keyId of keyIds.filter((id) => id !== '')) {
      for (const key of this.#prepared.keys()) if (key.startsWith(`${keyId}:`)) this.#prepared.delete(key);
      await this.#keys.delete(keyId);
    }
  }
}

/** An id of its own for each key; the attribute in the subject is the same, so that a certificate tells which key it is of. */
function newKeyId(cluster: string, name: string): { keyId: string; attribute: string } {
  const attribute = randomBytes(4).toString('hex');
  return { keyId: `${cluster.replace('_', '')}/${name}/${attribute}`, attribute };
}

/** What stands above an intermediate that came with its root. */
function aboveOf(certificates: readonly Buffer[]): Pick<AuthorityRecord, 'chain' | 'root'> {
  const [own, ...others] = certificates.map(parseCertificate);
  const path = own ? pathAbove(own, others) : [];
  const root = path.at(-1);
  if (path.length < 2 || !root || !isRoot(root)) return {};
  const chain = path.slice(1, -1).map(({ der }) => der.toString('base64'));
  return { ...(chain.length > 0 && { chain }), root: root.der.toString('base64') };
}

function commonNameOf(name: string): string {
  return (commonNames as Record<string, string>)[name] ?? name;
}

/** Whoever holds its key issues by it. */
export function watchedOnly({ cluster, name }: Pick<AuthorityRecord, 'cluster' | 'name'>): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `the key of ${name} of cluster ${cluster} is not at this coordinator: its certificates are only watched, and none is issued; import the cluster with its keys to change that`,
  );
}

/** DER certificates that nodes must trust for this CA. */
export function trustAnchors(authority: AuthorityRecord): Buffer[] {
  return authority.bundle.map((der) => Buffer.from(der, 'base64'));
}
