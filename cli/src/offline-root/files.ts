import { lstat, open, readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { createFileDurable, errnoOf, syncDirectory, toFileError } from '@evercert/shared/files';
import {
  type CertificateInfo,
  certificatesFromPem,
  keyAlgorithmOf,
  openCsr,
  type ParsedCsr,
  type PreparedIssuer,
  pairMatches,
  parseCertificate,
  pemBlocks,
  prepareIssuer,
  privateKeyFromPem,
  signerFor,
} from '@evercert/shared/x509';
import type { Environment } from '../environment.ts';

const maxBytes = 256 * 1024;
const requestLabels = new Set(['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST']);

export function absolute({ cwd }: Pick<Environment, 'cwd'>, path: string): string {
  return resolve(cwd, path);
}

/** InvalidArgument: more than 256 KiB. FileSystem. */
export async function readSmall(path: string): Promise<Buffer> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      if (size > maxBytes) throw new EvercertError('InvalidArgument', `${path} has ${size} bytes; expected at most ${maxBytes}`);
    } finally {
      await file.close();
    }
    return await readFile(path);
  } catch (error) {
    throw toFileError(error, 'read', path);
  }
}

/** Durable, and never over a file that is there. AlreadyExists, DiskFull, FileSystem. */
export async function writeNew(path: string, content: string, mode: number): Promise<void> {
  try {
    await createFileDurable(path, content, { mode });
  } catch (error) {
    throw errnoOf(error) === 'EEXIST' ? taken(path) : error;
  }
  await syncDirectory(dirname(path));
}

/** Before a person is asked for anything. AlreadyExists. */
export async function mustBeNew(path: string): Promise<void> {
  const there = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw toFileError(error, 'look at', path);
  });
  if (there) throw taken(path);
}

function taken(path: string): EvercertError {
  return new EvercertError('AlreadyExists', `${path} is there already and is not written over; name another file, or move it away`);
}

/** The one PKCS#10 request of a PEM file, which has proved its key. InvalidCsr, WeakKey. */
export async function readRequest(path: string): Promise<ParsedCsr> {
  const found = pemBlocks(await readSmall(path)).filter(({ label }) => requestLabels.has(label));
  const [request] = found;
  if (request && found.length === 1) return await openCsr(request.der);
  throw new EvercertError('InvalidCsr', `${path} holds ${found.length} requests; expected one block BEGIN CERTIFICATE REQUEST`);
}

/** A CA of its own with its key. */
export interface OfflineCa {
  info: CertificateInfo;
  /** DER, its own first, then those above it; the root is last. */
  chain: Buffer[];
  issuer: PreparedIssuer;
}

/**
 * Opens an offline CA. InvalidCertificate: it is no CA, or its file holds no certificate. InvalidArgument: the key is another's, or the passphrase does not open it. FileSystem.
 *
 * @param certificatePath PEM: the CA's own certificate first, then those above it.
 */
export async function openOfflineCa(certificatePath: string, keyPath: string, passphrase: () => Promise<string>): Promise<OfflineCa> {
  const chain = certificatesFromPem(await readSmall(certificatePath));
  const info = parseCertificate(chain[0]!);
  const pem = await readSmall(keyPath);
  const encrypted = /ENCRYPTED/.test(pem.toString('latin1'));
  const key = privateKeyFromPem(pem, encrypted ? await passphrase() : undefined);
  pem.fill(0);
  if (!pairMatches(info.der, key))
    throw new EvercertError('InvalidArgument', `${keyPath} is not the key of "${info.subject}" in ${certificatePath}`);
  if (keyAlgorithmOf(key) === undefined)
    throw new EvercertError(
      'InvalidArgument',
      `the key ${keyPath}, ${info.keyDescription}, cannot sign here; expected ECDSA P-256 or P-384, or RSA 2048, 3072 or 4096`,
    );
  return { info, chain, issuer: prepareIssuer(info.der, signerFor(key)) };
}
