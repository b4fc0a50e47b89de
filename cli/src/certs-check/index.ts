import { readFile, stat } from 'node:fs/promises';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { certificatesFromPem, parseCertificate } from '@evercert/shared/x509';
import type { Anchor } from './chains.ts';
import { takeInventory } from './inventory.ts';
import { judge } from './judge.ts';
import { type CheckReport, checkLimits } from './types.ts';

export { takeInventory } from './inventory.ts';
export { type JudgeOptions, judge } from './judge.ts';
export {
  type CertificateReport,
  type CheckReport,
  type CheckStatus,
  checkLimits,
  type Inventory,
  type PathProblem,
  type Problem,
} from './types.ts';

export interface CheckOptions {
  /** Absolute. */
  folder: string;
  /** Where the absolute paths in kubeconfigs begin: `/`, or the root of another machine's files. */
  rootDir: string;
  /** PEM files with more CAs that are trusted; absolute. */
  caFiles: readonly string[];
  nowMs: number;
  warnWithinMs?: number | undefined;
}

/**
 * Checks any PKI folder: kubeadm's layout, kubelet's files, kubeconfigs. Reads only.
 *
 * Errors: InvalidArgument (the folder or a CA file is missing or unreadable). Whatever is wrong inside the folder is in the report.
 */
export async function checkFolder({ folder, rootDir, caFiles, nowMs, warnWithinMs }: CheckOptions): Promise<CheckReport> {
  const trusted = (await Promise.all(caFiles.map(readAnchors))).flat();
  return judge(await takeInventory(folder, rootDir), { nowMs, trusted, warnWithinMs });
}

async function readAnchors(path: string): Promise<Anchor[]> {
  try {
    const { size } = await stat(path);
    if (size > checkLimits.fileBytes)
      throw new EvercertError('InvalidArgument', `it has ${size} bytes, expected at most ${checkLimits.fileBytes}`);
    const anchors = certificatesFromPem(await readFile(path, 'latin1')).map((der) => ({ info: parseCertificate(der), path }));
    const other = anchors.find(({ info }) => !info.isCa);
    if (other) throw new EvercertError('InvalidArgument', `"${other.info.subject}" in it is no CA`);
    return anchors;
  } catch (error) {
    const { message } = toEvercertError(error);
    throw new EvercertError('InvalidArgument', `--ca: cannot use ${path}: ${message}`, { cause: error });
  }
}
