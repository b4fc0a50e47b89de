import assert from 'node:assert/strict';
import { type ErrorCode, EvercertError } from '@evercert/shared/errors';
import {
  type CertificateSigner,
  createCsr,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  type KeyAlgorithm,
  type KeyPair,
  keyAlgorithmOf,
  type LeafProfile,
  newSerial,
  type PreparedIssuer,
  prepareIssuer,
  signerFor,
  spkiDer,
} from '@evercert/shared/x509';

export const hourMs = 3_600_000;
export const startMs = Date.parse('2026-03-01T12:00:00Z');
export const at = (hours: number): Date => new Date(startMs + hours * hourMs);

export interface Ca {
  der: Buffer;
  signer: CertificateSigner;
  issuer: PreparedIssuer;
}

export async function makeCa(
  commonName = 'cluster-ca',
  uniqueAttribute = 'g1',
  algorithm: KeyAlgorithm = 'ecdsa-p384',
  notAfter = at(87_600),
): Promise<Ca> {
  const signer = signerFor((await generateKeyPair(algorithm)).privateKey);
  const name = uniqueAttribute === '' ? { commonName } : { commonName, uniqueAttribute };
  const der = await createRootCertificate({ ...name, signer, serial: newSerial(), notBefore: at(-1), notAfter });
  return { der, signer, issuer: prepareIssuer(der, signer) };
}

export function profileOf(changes: Partial<LeafProfile> = {}): LeafProfile {
  return {
    commonName: 'kube-apiserver',
    organizations: [],
    dnsNames: ['kubernetes'],
    ipAddresses: ['10.96.0.1'],
    uris: [],
    usages: ['digital signature', 'key encipherment', 'server auth'],
    ...changes,
  };
}

export interface LeafChanges {
  profile?: Partial<LeafProfile>;
  serial?: string;
  keyAlgorithm?: KeyAlgorithm;
  notBefore?: Date;
  notAfter?: Date;
}

export function makeLeaf(ca: Ca, key: KeyPair, changes: LeafChanges = {}): Promise<Buffer> {
  return issueLeaf(ca.issuer, {
    spki: spkiDer(key.publicKey),
    keyAlgorithm: changes.keyAlgorithm ?? (keyAlgorithmOf(key.publicKey) as KeyAlgorithm),
    profile: profileOf(changes.profile),
    serial: changes.serial ?? newSerial(),
    notBefore: changes.notBefore ?? at(0),
    notAfter: changes.notAfter ?? at(96),
  });
}

export function makeCsr(key: KeyPair): Promise<Buffer> {
  return createCsr({
    privateKey: key.privateKey,
    commonName: 'system:node:node-1',
    organizations: ['system:nodes'],
    dnsNames: ['node-1'],
    ipAddresses: ['10.0.0.1'],
  });
}

/** For assert.throws and assert.rejects. */
export function withCode(code: ErrorCode, message?: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof EvercertError, `expected an EvercertError, got ${String(error)}`);
    assert.equal(error.code, code, error.message);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  };
}

/** Runs something over hostile input: it may succeed or refuse with one of the codes, nothing else. */
export async function refusesOnlyWith<T>(codes: readonly ErrorCode[], attempt: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await attempt();
  } catch (error) {
    assert.ok(error instanceof EvercertError, `a raw error came through: ${error instanceof Error ? error.stack : String(error)}`);
    assert.ok(codes.includes(error.code), `unexpected code ${error.code}: ${error.message}`);
    return undefined;
  }
}
