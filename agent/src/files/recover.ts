import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import { sweepLayout } from './layout.ts';
import type { PathPolicy } from './paths.ts';
import type { CertificateState } from './state.ts';
import type { InstalledPair } from './types.ts';

export interface RecoverOptions {
  name: string;
  state: CertificateState;
  paths: PathPolicy;
  logger: Logger;
  /** Puts the installed pair's files where the specification wants them; undefined when there is no usable pair. */
  place: (version: string, spec: ResolvedCertificate, trustAnchors: Buffer[]) => Promise<InstalledPair | undefined>;
}

/**
 * Completes a change whose pair was committed, drops one that was not, and sweeps what a crash left. What cannot be completed now (a full disk, a folder
 * in the way) is logged and tried again at the next start or restore: an agent must come up all the same. Returns what was done, one line each.
 */
export async function recoverCertificate(options: RecoverOptions): Promise<string[]> {
  const { name, state, paths, logger } = options;
  const did: string[] = [];
  try {
    if (await state.tighten()) did.push(`${name}: closed the state folder to others`);
    did.push(...(await finishJournal(options)));
    const swept = [...(await state.sweep()), ...(await sweepLayout(await state.layout(), name, paths))];
    did.push(...swept.map((path) => `${name}: removed the leftover ${path}`));
  } catch (error) {
    logger.error('recovering files failed; it is tried again', { certificate: name, error: describeError(error) });
    did.push(`${name}: could not recover: ${describeError(error)}`);
  }
  return did;
}

async function finishJournal({ name, state, place }: RecoverOptions): Promise<string[]> {
  const journal = await state.journal();
  if (journal === undefined) {
    // A damaged journal says nothing; what it was for shows at the next inspection.
    await state.clearJournal();
    return [];
  }
  if ((await state.installedVersion()) !== journal.pair) {
    await state.clearJournal();
    return [`${name}: dropped an installation that had not been committed; the old files are in use`];
  }
  const pair = await place(
    journal.pair,
    journal.spec,
    journal.trustAnchors.map((text) => Buffer.from(text, 'base64')),
  );
  await state.clearJournal();
  if (pair === undefined) return [`${name}: the installed pair is damaged; a new certificate must be requested`];
  return [`${name}: completed the installation of certificate ${pair.serial}`];
}
