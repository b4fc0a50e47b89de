/** A small real CA for tests that need certificates that really verify. */
import type { KeyObject } from 'node:crypto';
import {
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  newSerial,
  type PreparedIssuer,
  parseCsr,
  prepareIssuer,
  signerFor,
  spkiDer,
  type Usage,
} from '@evercert/shared/x509';

export interface TestCa {
  der: Buffer;
  issuer: PreparedIssuer;
  /** DER, for a public key. Times in milliseconds since the epoch. */
  leaf(spki: Buffer, life: { notBeforeMs: number; notAfterMs: number }, usages?: Usage[]): Promise<Buffer>;
  /** DER, for a PKCS#10 request. */
  sign(csr: Buffer, life: { notBeforeMs: number; notAfterMs: number }): Promise<Buffer>;
}

export async function createTestCa(nowMs: number, name = 'control-ca'): Promise<TestCa> {
  const { privateKey } = await generateKeyPair('ecdsa-p256');
  const signer = signerFor(privateKey);
  const life = { notBefore: new Date(nowMs - 3_600_000), notAfter: new Date(nowMs + 10 * 365 * 86_400_000) };
  const der = await createRootCertificate({ commonName: name, signer, serial: newSerial(), ...life });
  const issuer = prepareIssuer(der, signer);
  const leaf: TestCa['leaf'] = (spki, { notBeforeMs, notAfterMs }, usages = ['digital signature', 'client auth', 'server auth']) =>
    issueLeaf(issuer, {
      spki,
      keyAlgorithm: 'ecdsa-p256',
      profile: { commonName: 'node-1', organizations: [], dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'], uris: [], usages },
      serial: newSerial(),
      notBefore: new Date(notBeforeMs),
      notAfter: new Date(notAfterMs),
    });
  return { der, issuer, leaf, sign: (csr, times) => leaf(parseCsr(csr).spki, times) };
}

export async function keyAndLeaf(ca: TestCa, nowMs: number, lifeMs = 96 * 3_600_000): Promise<{ privateKey: KeyObject; leaf: Buffer }> {
  const { privateKey } = await generateKeyPair('ecdsa-p256');
  const leaf = await ca.leaf(spkiDer(privateKey), { notBeforeMs: nowMs - 60_000, notAfterMs: nowMs + lifeMs });
  return { privateKey, leaf };
}
