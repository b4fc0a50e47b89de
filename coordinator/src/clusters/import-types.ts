/** What an import is asked for, and what it finds. */
import type { KeyObject } from 'node:crypto';
import type { ClusterPolicy, IssuerName } from '@evercert/shared/manifest';
import type { CertificateInfo } from '@evercert/shared/x509';

export interface ImportOrder {
  name: string;
  /** What the admin said; the rest is inferred, or the default. */
  given: Partial<ClusterPolicy>;
  authorities: readonly AuthorityInput[];
  /** Kubernetes' service-account key. Empty: it is left unmanaged. */
  serviceAccountKeyPem: string;
  /** Certificates in place on a node, by the paths at which components read them. */
  certificates: readonly { path: string; certificatePem: string }[];
  /** The node that they are from; empty: it is read from them where that is possible. */
  nodeName: string;
  nodeAddresses: readonly string[];
  dryRun: boolean;
}

export interface AuthorityInput {
  name: string;
  /** The CA's certificate first. */
  certificatesPem: string;
  /** Empty: the key stays where it is, and what the CA issued is only watched. */
  privateKeyPem: string;
  /** File names, for messages. */
  source: string;
}

export const severities = ['Error', 'Warning', 'Info'] as const;
export type Severity = (typeof severities)[number];

/** In the order in which they are shown. */
export const findingKinds = ['Authority', 'Policy', 'Different', 'Missing', 'Unmanaged', 'Same'] as const;
export type FindingKind = (typeof findingKinds)[number];

export interface ImportFinding {
  severity: Severity;
  path: string;
  /** The manifest that declares it; empty: none does. */
  certificate: string;
  kind: FindingKind;
  message: string;
}

/** A CA that can be taken over, as far as it was understood. */
export interface CheckedAuthority {
  name: IssuerName;
  /** DER: the CA's own first, then what else is trusted. */
  certificates: Buffer[];
  info: CertificateInfo;
  privateKey: KeyObject | undefined;
  source: string;
}

/** A certificate in place, read. */
export interface PlacedCertificate {
  path: string;
  /** DER, leaf first. */
  chain: Buffer[];
  info: CertificateInfo;
}

/** Worst first; then by kind, certificate and path. */
export function sorted(findings: readonly ImportFinding[]): ImportFinding[] {
  const rank = (one: ImportFinding): number => severities.indexOf(one.severity) * findingKinds.length + findingKinds.indexOf(one.kind);
  const text = (one: ImportFinding): string => `${one.certificate}\0${one.path}`;
  return findings.toSorted((a, b) => rank(a) - rank(b) || (text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0));
}
