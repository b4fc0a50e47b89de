import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeFileDurable } from '@evercert/shared/files';
import {
  certificatesToPem,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  newSerial,
  type PreparedIssuer,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
  type Usage,
} from '@evercert/shared/x509';

/** PEM files. */
export interface ClientFiles {
  caFile: string;
  certFile: string;
  keyFile: string;
}

const keyAlgorithm = 'ecdsa-p256';
const backdateMs = 60_000;
/** Longer than any run: the store of the coordinators does not hang on what they issue. */
const lifeMs = 365 * 86_400_000;
const caLifeMs = 2 * lifeMs;

/** A CA with the certificates of one etcd member and of its clients, in a folder as `etcdArguments` reads it. Its key is kept nowhere. */
export async function makeStorePki(pkiDir: string, nowMs: number): Promise<ClientFiles> {
  const life = { notBefore: new Date(nowMs - backdateMs), notAfter: new Date(nowMs + lifeMs) };
  const { privateKey } = await generateKeyPair(keyAlgorithm);
  const signer = signerFor(privateKey);
  const ca = await createRootCertificate({
    commonName: 'state-etcd-ca',
    signer,
    serial: newSerial(),
    ...life,
    notAfter: new Date(nowMs + caLifeMs),
  });
  const issuer = prepareIssuer(ca, signer);
  const at = (name: string): string => join(pkiDir, name);
  mkdirSync(dirname(at('etcd/ca.crt')), { recursive: true, mode: 0o700 });
  await writeFileDurable(at('etcd/ca.crt'), certificatesToPem([ca]), { mode: 0o644 });
  await writePair(issuer, life, at('etcd/server'), ['server auth', 'client auth']);
  await writePair(issuer, life, at('etcd/peer'), ['server auth', 'client auth']);
  await writePair(issuer, life, at('client'), ['client auth']);
  return { caFile: at('etcd/ca.crt'), certFile: at('client.crt'), keyFile: at('client.key') };
}

async function writePair(issuer: PreparedIssuer, life: { notBefore: Date; notAfter: Date }, path: string, usages: Usage[]): Promise<void> {
  const { privateKey, publicKey } = await generateKeyPair(keyAlgorithm);
  const certificate = await issueLeaf(issuer, {
    spki: spkiDer(publicKey),
    keyAlgorithm,
    profile: {
      commonName: 'state-etcd',
      organizations: [],
      dnsNames: ['localhost'],
      ipAddresses: ['127.0.0.1'],
      uris: [],
      usages: ['digital signature', ...usages],
    },
    serial: newSerial(),
    ...life,
  });
  await writeFileDurable(`${path}.crt`, certificatesToPem([certificate]), { mode: 0o644 });
  await writeFileDurable(`${path}.key`, privateKeyToPem(privateKey), { mode: 0o600 });
}
