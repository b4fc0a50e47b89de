import type { KeyObject } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { pairMatches, parseCertificate, pemBlocks, privateKeyFromPem, toPem } from '@evercert/shared/x509';
import { pemTextOf } from './in-place.ts';
import type { PathPolicy } from './paths.ts';
import { readable } from './readable.ts';
import type { CertificateState } from './state.ts';
import { readShown } from './symlinks.ts';
import type { InstalledPair } from './types.ts';

/**
 * Rebuilds a damaged state copy from the declared files: the pair is there as long as some file still has the certificate of the recorded serial, and some
 * file its key. Undefined when it is not, or nothing was ever installed.
 */
export async function rescuePair(
  name: string,
  state: CertificateState,
  paths: PathPolicy,
  { logger, clock }: { logger: Logger; clock: Clock },
): Promise<InstalledPair | undefined> {
  const meta = await state.installedMeta();
  if (meta === undefined) return undefined;
  const layout = await state.layout();
  const found = await collect([...[...layout.files, ...layout.dated].map((entry) => entry.path), ...(meta.adopted?.paths ?? [])], paths);
  const chain = found.chains.find((chain) => chain[0] !== undefined && parseCertificate(chain[0]).serial === meta.serial);
  const leaf = chain?.[0];
  const privateKey = leaf === undefined ? undefined : found.keys.find((key) => pairMatches(leaf, key));
  if (chain === undefined || privateKey === undefined) return undefined;
  const label = `${new Date(clock.nowMs()).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z-rescued`;
  try {
    const version = await state.freeVersion(label);
    await state.writePair(version, { chain, privateKey }, meta);
    await state.commit(version);
    logger.warn('the damaged state copy was rebuilt from the declared files', { certificate: name, serial: meta.serial });
  } catch (error) {
    // The pair itself is good; the copy is tried again next time.
    logger.warn('the damaged state copy cannot be rebuilt now', { certificate: name, serial: meta.serial, error: describeError(error) });
  }
  return { name, ...meta, chain, privateKey };
}

async function collect(files: string[], paths: PathPolicy): Promise<{ chains: Buffer[][]; keys: KeyObject[] }> {
  const chains: Buffer[][] = [];
  const keys: KeyObject[] = [];
  for (const path of files) {
    const file = await readShown(paths, path);
    const blocks = file === undefined ? [] : readable(() => pemBlocks(pemTextOf(file.content)));
    const chain = (blocks ?? []).filter((block) => block.label === 'CERTIFICATE').map((block) => block.der);
    if (chain[0] !== undefined && readable(() => parseCertificate(chain[0] as Buffer)) !== undefined) chains.push(chain);
    for (const { label, der } of blocks ?? []) {
      const key = label.endsWith('PRIVATE KEY') ? readable(() => privateKeyFromPem(toPem(label, der))) : undefined;
      if (key !== undefined) keys.push(key);
    }
  }
  return { chains, keys };
}
