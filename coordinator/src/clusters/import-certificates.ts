/** How certificates in place compare with what the manifests would issue. Pure. */
import { describeError } from '@evercert/shared/errors';
import type { OutputSpec, ResolvedCertificate } from '@evercert/shared/manifest';
import { certificatesFromPem, parseCertificate, verifyChain } from '@evercert/shared/x509';
import { differencesOf } from '../issuance/differences.ts';
import type { CheckedAuthority, ImportFinding, PlacedCertificate } from './import-types.ts';

/** Reads what is in place; what cannot be read is told, and counts as not there. */
export function readPlaced(certificates: readonly { path: string; certificatePem: string }[]): {
  placed: PlacedCertificate[];
  findings: ImportFinding[];
} {
  const placed: PlacedCertificate[] = [];
  const findings: ImportFinding[] = [];
  for (const { path, certificatePem } of certificates) {
    try {
      const chain = certificatesFromPem(certificatePem);
      placed.push({ path, chain, info: parseCertificate(chain[0]!) });
    } catch (error) {
      findings.push({
        severity: 'Warning',
        path,
        certificate: '',
        kind: 'Unmanaged',
        message: `it holds no certificate that can be read: ${describeError(error)}`,
      });
    }
  }
  return { placed, findings };
}

/** One finding for each declared certificate, and one for each that is in place and declared by nothing. */
export function comparePlaced(
  declared: readonly ResolvedCertificate[],
  placed: readonly PlacedCertificate[],
  authorities: readonly CheckedAuthority[],
  nowMs: number,
): ImportFinding[] {
  const matched = new Set<PlacedCertificate>();
  const findings = declared.map((certificate): ImportFinding => {
    const paths = certificate.outputs.flatMap(pathsOf);
    const own = placed.filter(({ path }) => paths.includes(path));
    for (const one of own) matched.add(one);
    const authority = authorities.find(({ name }) => name === certificate.issuer);
    const usable = own.find((one) => whyNotTaken(one, authority, nowMs) === undefined);
    const [first] = own;
    if (usable) return compared(certificate, usable, authority);
    return first ? replaced(certificate, first, authority, nowMs) : missing(certificate, paths[0] ?? '', authority);
  });
  const unmanaged = placed.filter((one) => !matched.has(one)).map(unmanagedFinding);
  return [...findings, ...unmanaged];
}

/** Paths at which a component, or a kubeconfig, has the certificate. */
function pathsOf(output: OutputSpec): string[] {
  if (output.type === 'pem') return [output.certificate.path];
  return output.type === 'combined' || output.type === 'kubeconfig' ? [output.file.path] : [];
}

function compared(
  certificate: ResolvedCertificate,
  { path, info }: PlacedCertificate,
  authority: CheckedAuthority | undefined,
): ImportFinding {
  const differences = differencesOf(certificate, info);
  const common = { path, certificate: certificate.name };
  if (authority?.privateKey === undefined) {
    return {
      ...common,
      severity: 'Info',
      kind: differences.length === 0 ? 'Same' : 'Different',
      message: `only watched, until ${ending(info)}`,
    };
  }
  if (differences.length === 0) {
    return { ...common, severity: 'Info', kind: 'Same', message: `taken over as it is, until ${ending(info)} or its first renewal` };
  }
  const telling = differences.some((difference) => difference.telling);
  const texts = differences.map(({ message }) => message).join('; ');
  const message = `taken over as it is; its first renewal changes it: ${texts}`;
  return { ...common, severity: telling ? 'Warning' : 'Info', kind: 'Different', message };
}

function replaced(
  certificate: ResolvedCertificate,
  one: PlacedCertificate,
  authority: CheckedAuthority | undefined,
  nowMs: number,
): ImportFinding {
  const next = authority?.privateKey ? 'another is issued when the agent joins' : 'nothing renews it here';
  return {
    severity: 'Warning',
    path: one.path,
    certificate: certificate.name,
    kind: 'Different',
    message: `not taken over, ${next}: ${whyNotTaken(one, authority, nowMs)}`,
  };
}

function missing({ name }: ResolvedCertificate, path: string, authority: CheckedAuthority | undefined): ImportFinding {
  const next = authority?.privateKey ? 'it is issued when the agent joins' : 'nothing issues it here';
  return { severity: 'Info', path, certificate: name, kind: 'Missing', message: `not in place: ${next}` };
}

function unmanagedFinding({ path, info }: PlacedCertificate): ImportFinding {
  const conf = /\/(super-)?admin\.conf$/.test(path) ? '; docs/manifests.md says how to have it managed' : '';
  return {
    severity: 'Info',
    path,
    certificate: '',
    kind: 'Unmanaged',
    message: `no manifest declares it: it is left as it is, until ${ending(info)}${conf}`,
  };
}

/** As the coordinator will judge when the node's agent asks. Undefined: it is taken over. */
function whyNotTaken({ chain, info }: PlacedCertificate, authority: CheckedAuthority | undefined, nowMs: number): string | undefined {
  if (!authority) return 'its CA is not among those given';
  if (info.isCa) return 'it is a CA certificate';
  if (info.notAfter.getTime() <= nowMs) return `it ended at ${ending(info)}`;
  if (info.keyAlgorithm === undefined) return `its key, ${info.keyDescription}, is of a kind that is not taken over`;
  try {
    verifyChain({ chain, anchors: authority.certificates, atMs: Math.max(nowMs, info.notBefore.getTime()) });
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

function ending({ notAfter }: PlacedCertificate['info']): string {
  return notAfter.toISOString().replace('.000Z', 'Z');
}
