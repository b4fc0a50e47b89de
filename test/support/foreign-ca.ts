/** CAs and leaves as others make them, kubeadm above all: RSA 2048, and with faults that Evercert's own could not have. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import {
  certificatesToPem,
  createRootCertificate,
  issueLeaf,
  type KeyAlgorithm,
  keyAlgorithmOf,
  type LeafProfile,
  newSerial,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
} from '@evercert/shared/x509';

const dayMs = 86_400_000;

export interface ForeignCa {
  der: Buffer;
  certificatePem: string;
  privateKey: KeyObject;
  privateKeyPem: string;
  /** Leaf first; the key is a new P-256 one by default. */
  leaf(profile: Partial<LeafProfile>, options?: { key?: KeyObject; notBeforeMs?: number; notAfterMs?: number }): Promise<ForeignLeaf>;
}

export interface ForeignLeaf {
  der: Buffer;
  pem: string;
  privateKey: KeyObject;
}

export interface ForeignCaOptions {
  nowMs: number;
  /** RSA 2048 by default, as kubeadm's; `ec` is P-256 and quicker. */
  kind?: 'rsa' | 'ec';
  lifeDays?: number;
}

export async function createForeignCa(commonName: string, { nowMs, kind = 'ec', lifeDays = 3650 }: ForeignCaOptions): Promise<ForeignCa> {
  const { privateKey } = kind === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : newEcKey();
  const signer = signerFor(privateKey);
  const [notBefore, notAfter] = [new Date(nowMs - dayMs), new Date(nowMs + lifeDays * dayMs)];
  const der = await createRootCertificate({ commonName, signer, serial: newSerial(), notBefore, notAfter });
  const issuer = prepareIssuer(der, signer);
  return {
    der,
    certificatePem: certificatesToPem([der]),
    privateKey,
    privateKeyPem: privateKeyToPem(privateKey),
    async leaf(profile, { key = newEcKey().privateKey, notBeforeMs = nowMs - 60_000, notAfterMs = nowMs + 30 * dayMs } = {}) {
      const certificate = await issueLeaf(issuer, {
        spki: spkiDer(key),
        keyAlgorithm: keyAlgorithmOf(key) as KeyAlgorithm,
        profile: { commonName: '', organizations: [], dnsNames: [], ipAddresses: [], uris: [], usages: [], ...profile },
        serial: newSerial(),
        notBefore: new Date(notBeforeMs),
        notAfter: new Date(notAfterMs),
      });
      return { der: certificate, pem: certificatesToPem([certificate]), privateKey: key };
    },
  };
}

function newEcKey(): { privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}
