import { formatFileMode } from '@evercert/shared/config';
import { type Anchor, ChainFinder, type ChainResult } from './chains.ts';
import { absentOf } from './kubeadm.ts';
import { type Pairing, pairOf } from './pairing.ts';
import type { CertificateReport, CheckReport, CheckStatus, FoundCertificate, FoundKey, Inventory, PathProblem, Problem } from './types.ts';

export interface JudgeOptions {
  nowMs: number;
  /** CAs that were named by hand. */
  trusted: readonly Anchor[];
  /** A certificate that has less left ends soon. Absent: less than the last third of its life. */
  warnWithinMs?: number | undefined;
}

const othersMayRead = 0o004;
/** The part of a life that is left when renewal should be over: it is due at 2/3 of the life. */
const lastPart = 1 / 3;

/** Judges all that a folder holds; pure. */
export function judge(inventory: Inventory, options: JudgeOptions): CheckReport {
  const chains = new ChainFinder(inventory.certificates, options.trusted);
  const pairedKeys = new Set<FoundKey>();
  const certificates = listed(inventory.certificates).map((certificate) => {
    const pairing = pairOf(certificate, inventory);
    if (pairing.key && !inventory.superseded.has(certificate.path)) pairedKeys.add(pairing.key);
    return report(certificate, pairing, chains.find(certificate, options.nowMs), inventory, options);
  });
  const problems = [...inventory.problems, ...keyProblems(inventory, pairedKeys)];
  const count = (status: CheckStatus): number => certificates.filter((one) => one.status === status).length;
  const counts = {
    certificates: certificates.length,
    well: count('well'),
    soon: count('soon'),
    broken: count('broken'),
    superseded: count('superseded'),
  };
  const isBroken = counts.broken > 0 || problems.length > 0;
  return { status: isBroken ? 'broken' : counts.soon > 0 ? 'soon' : 'well', counts, certificates, problems, absent: absentOf(inventory) };
}

function listed(certificates: readonly FoundCertificate[]): FoundCertificate[] {
  const inFiles = new Set(certificates.filter((one) => one.listed && !one.embeddedCa).map((one) => one.info.der.toString('base64')));
  return certificates.filter((one) => {
    if (!one.listed) return false;
    if (!one.embeddedCa) return true;
    const der = one.info.der.toString('base64');
    if (inFiles.has(der)) return false;
    inFiles.add(der);
    return true;
  });
}

function report(
  certificate: FoundCertificate,
  pairing: Pairing,
  chain: ChainResult,
  inventory: Inventory,
  options: JudgeOptions,
): CertificateReport {
  const { info, path } = certificate;
  const lifetimeMs = info.notAfter.getTime() - info.notBefore.getTime();
  const remainingMs = info.notAfter.getTime() - options.nowMs;
  const problems = [...timeProblems(certificate, options.nowMs), ...chainProblems(chain), ...pairProblems(pairing)];
  const endsSoon = remainingMs < (options.warnWithinMs ?? lifetimeMs * lastPart);
  const status: CheckStatus = inventory.superseded.has(path) ? 'superseded' : problems.length > 0 ? 'broken' : endsSoon ? 'soon' : 'well';
  return {
    path,
    role: info.isCa ? 'ca' : 'leaf',
    subject: info.subject,
    issuer: info.issuer,
    serial: info.serial,
    dnsNames: info.dnsNames,
    ipAddresses: info.ipAddresses,
    keyAlgorithm: info.keyDescription,
    notBefore: info.notBefore,
    notAfter: info.notAfter,
    lifetimeSeconds: Math.floor(lifetimeMs / 1000),
    remainingSeconds: Math.floor(remainingMs / 1000),
    chain: {
      status: chain.status,
      ...(chain.status === 'verified' && {
        anchor: {
          subject: chain.anchor.info.subject,
          serial: chain.anchor.info.serial,
          path: chain.anchor.path,
          // Who has the CA's key can renew: kubeadm calls what it cannot renew externally managed.
          key: inventory.keys.some((key) => key.spkiSha256 === chain.anchor.info.spkiSha256) ? ('here' as const) : ('elsewhere' as const),
        },
      }),
    },
    key: { status: pairing.status, ...(pairing.key && { path: pairing.key.path, mode: formatFileMode(pairing.key.mode) }) },
    status,
    problems: status === 'superseded' ? [] : problems,
  };
}

function timeProblems({ info }: FoundCertificate, nowMs: number): Problem[] {
  if (nowMs > info.notAfter.getTime()) return [{ code: 'Expired', message: `it ended at ${info.notAfter.toISOString()}` }];
  if (nowMs < info.notBefore.getTime())
    return [{ code: 'NotYetValid', message: `it begins at ${info.notBefore.toISOString()}: check this machine's clock` }];
  return [];
}

function chainProblems(chain: ChainResult): Problem[] {
  return chain.status === 'broken' ? [{ code: 'NoChain', message: chain.message }] : [];
}

function pairProblems({ status, key }: Pairing): Problem[] {
  const problems: Problem[] = [];
  if (status === 'missing') problems.push({ code: 'KeyMissing', message: 'no private key in the folder fits it' });
  if (status === 'mismatched') problems.push({ code: 'KeyMismatched', message: `the private key in ${key!.path} is not its own` });
  if (key) problems.push(...modeProblems(key));
  return problems;
}

function modeProblems({ path, mode }: FoundKey): Problem[] {
  if ((mode & othersMayRead) === 0) return [];
  return [
    {
      code: 'KeyReadableByOthers',
      message: `${path} has mode ${formatFileMode(mode)}: everybody may read the private key in it; chmod 0600, and replace the key`,
    },
  ];
}

/** Keys that belong to no certificate: Kubernetes' service-account keys, keys left behind. */
function keyProblems({ keys, publicKeys }: Inventory, paired: ReadonlySet<FoundKey>): PathProblem[] {
  const pairedPaths = new Set([...paired].map((key) => key.path));
  return keys
    .filter((key) => !pairedPaths.has(key.path))
    .flatMap((key) => {
      const publicPath = key.path.replace(/\.key$/, '.pub');
      const other = publicKeys.find((one) => one.path === publicPath && key.spkiSha256 !== undefined && one.spkiSha256 !== key.spkiSha256);
      const mismatch: Problem[] = other ? [{ code: 'KeyMismatched', message: `the public key in ${other.path} is not its own` }] : [];
      return [...modeProblems(key), ...mismatch].map((problem) => ({ path: key.path, ...problem }));
    });
}
