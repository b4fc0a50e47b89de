import type { KeyObject } from 'node:crypto';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { writeFileDurable } from '@evercert/shared/files';
import { certificatesToPem, pairMatches, parseCertificate, privateKeyToPem, verifyChain } from '@evercert/shared/x509';
import { readContexts, writeContexts } from './file.ts';
import { findContext, type ResolvedContext } from './resolve.ts';

/** Whether a certificate of the context leads to this CA, DER, by itself. */
export function isBy(chain: readonly Buffer[], ca: Buffer, atMs: number): boolean {
  try {
    verifyChain({ chain, anchors: [ca], atMs });
    return true;
  } catch {
    // By another, or over: which of both makes no difference to whoever asks.
    return false;
  }
}

/** Puts other CAs into the context's file of them, in one step. Errors: DiskFull, FileSystem. */
export async function writeAuthorities({ certificateAuthority }: ResolvedContext, anchors: readonly Buffer[]): Promise<void> {
  await writeFileDurable(certificateAuthority, certificatesToPem(anchors), { mode: 0o644 });
}

/**
 * Gives the context another client certificate and key: in files of their own beside the old ones, then named by the contexts file, so that they never are apart. Errors: PairMismatch,
 * DiskFull, FileSystem.
 */
export async function writeClientPair(context: ResolvedContext, chain: readonly Buffer[], privateKey: KeyObject): Promise<void> {
  const [leaf] = chain;
  if (!leaf || !pairMatches(leaf, privateKey))
    throw new EvercertError('PairMismatch', 'the coordinator answered with a certificate for another key');
  const file = await readContexts(context.file);
  const entry = findContext(file, context.file, context.name);
  const { serial } = parseCertificate(leaf);
  const beside = (path: string): string => {
    const extension = extname(path);
    // Without what an earlier refresh put there.
    const stem = basename(path, extension).replace(/-[0-9a-f]{8}$/, '');
    return join(dirname(path), `${stem}-${serial.slice(0, 8)}${extension}`);
  };
  const changed = { ...entry, clientCertificate: beside(entry.clientCertificate), clientKey: beside(entry.clientKey) };
  const from = (path: string): string => resolve(dirname(context.file), path);
  await writeFileDurable(from(changed.clientKey), privateKeyToPem(privateKey), { mode: 0o600 });
  await writeFileDurable(from(changed.clientCertificate), certificatesToPem(chain), { mode: 0o644 });
  await writeContexts(context.file, { ...file, contexts: file.contexts.map((one) => (one === entry ? changed : one)) });
}
