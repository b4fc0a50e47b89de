import {
  createRootCertificate,
  encryptedPrivateKeyToPem,
  generateKeyPair,
  type KeyAlgorithm,
  newSerial,
  signerFor,
} from '@evercert/shared/x509';

export interface RootOrder {
  commonName: string;
  /** Keeps roots of one name apart. */
  uniqueAttribute: string;
  algorithm: KeyAlgorithm;
  nowMs: number;
  lifetimeMs: number;
  passphrase: string;
}

/** Machines' clocks are not the same. */
export const backdateMs = 60_000;

/** A new root, DER, and its encrypted key in PEM. InvalidArgument: the name cannot stand in a certificate. */
export async function createOfflineRoot(order: RootOrder): Promise<{ certificate: Buffer; keyPem: string }> {
  const { commonName, uniqueAttribute, algorithm, nowMs, lifetimeMs, passphrase } = order;
  const { privateKey } = await generateKeyPair(algorithm);
  const certificate = await createRootCertificate({
    commonName,
    uniqueAttribute,
    signer: signerFor(privateKey),
    serial: newSerial(),
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + lifetimeMs),
  });
  return { certificate, keyPem: await encryptedPrivateKeyToPem(privateKey, passphrase) };
}
