import { EvercertError } from '@evercert/shared/errors';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import { type CertificateInfo, canonicalIp, pairMatches, parseCertificate, type Usage, verifyChain } from '@evercert/shared/x509';
import type { PendingPair } from './types.ts';

/**
 * Everything that must hold before a pair is put where a component reads it: the key belongs to the leaf, the chain leads to an anchor and is within its time,
 * and the leaf says what the specification asks for.
 *
 * notBefore may still lie ahead (a node's clock that is behind): the chain is then looked at as of notBefore.
 *
 * Errors: PairMismatch, InvalidCertificate, StaleSpec (the pair was requested for another specification).
 */
export function checkPair(
  spec: ResolvedCertificate,
  pair: PendingPair & { chain: Buffer[] },
  trustAnchors: Buffer[],
  nowMs: number,
): CertificateInfo {
  const [leaf] = pair.chain;
  if (leaf === undefined) throw invalid(spec, 'the chain is empty');
  if (pair.specHash !== spec.specHash)
    throw new EvercertError(
      'StaleSpec',
      `${spec.name}: the waiting certificate was requested for another specification; request a new one`,
    );
  if (!pairMatches(leaf, pair.privateKey))
    throw new EvercertError(
      'PairMismatch',
      `${spec.name}: the certificate is for another key than the one on this node; request a new one`,
    );
  const info = parseCertificate(leaf);
  const faults = faultsOf(spec, info);
  if (faults.length > 0) throw invalid(spec, faults.join('; '), info);
  if (info.notAfter.getTime() <= nowMs) throw invalid(spec, `it ended at ${info.notAfter.toISOString()}; check this node's clock`, info);
  const atMs = Math.max(nowMs, info.notBefore.getTime());
  const usage = spec.usages.find(isPurpose);
  try {
    verifyChain({ chain: pair.chain, anchors: trustAnchors, atMs, ...(usage === undefined ? {} : { usage }) });
  } catch (error) {
    throw invalid(spec, error instanceof Error ? error.message : String(error), info, error);
  }
  return info;
}

function invalid(spec: ResolvedCertificate, why: string, info?: CertificateInfo, cause?: unknown): EvercertError {
  return new EvercertError('InvalidCertificate', `${spec.name}: the certificate is not installed: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    metadata: { certificate: spec.name, ...(info === undefined ? {} : { serial: info.serial }) },
  });
}

function faultsOf(spec: ResolvedCertificate, info: CertificateInfo): string[] {
  const faults: string[] = [];
  const expect = (what: string, wanted: readonly string[], got: readonly string[]): void => {
    const [a, b] = [wanted, got].map((values) => [...new Set(values)].sort().join(', '));
    if (a !== b) faults.push(`its ${what} should be [${a}] and is [${b}]`);
  };
  expect('common name', [spec.commonName], [info.commonName]);
  expect('organizations', spec.organizations, info.organizations);
  expect('DNS names', spec.dnsNames.map(lowerCase), info.dnsNames.map(lowerCase));
  expect('IP addresses', spec.ipAddresses.map(canonicalIp), info.ipAddresses.map(canonicalIp));
  // The issuer adds digital signature always, and leaves key encipherment out for EC keys: what a component judges by are the purposes.
  expect('purposes', spec.usages.filter(isPurpose), info.usages.filter(isPurpose));
  expect('key', [spec.keyAlgorithm], [info.keyAlgorithm ?? info.keyDescription]);
  if (info.isCa) faults.push('it is a CA certificate');
  return faults;
}

function lowerCase(text: string): string {
  return text.toLowerCase();
}

function isPurpose(usage: Usage): boolean {
  return usage === 'server auth' || usage === 'client auth';
}
