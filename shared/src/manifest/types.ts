/**
 * Manifests as the product sees them: parsed, validated and with their defaults, but not yet resolved for a node (templates are still text).
 * `resolve` turns one into what a node is to hold.
 */
import type { RevocationReason } from '../revocation/index.ts';
import type { KeyAlgorithm, Usage } from '../x509/types.ts';
import { defaultReplacementPolicy, type ReplacementPolicy } from './replacement-policy.ts';
import type { RotationPolicy } from './rotation-policy.ts';

export * from './replacement-policy.ts';
export * from './rotation-policy.ts';

export const apiVersion = 'evercert.io/v1';

/** The CAs of a cluster that a manifest may name as its issuer. */
export const issuers = ['cluster-ca', 'etcd-ca', 'front-proxy-ca'] as const;
export type IssuerName = (typeof issuers)[number];

export const roles = ['control-plane', 'worker'] as const;
export type RoleName = (typeof roles)[number];

export const layouts = ['founding', 'kubeadm'] as const;
export type LayoutName = (typeof layouts)[number];

/** Nodes that a manifest is for; all of the given conditions must hold, none given selects every node. */
export interface Selector {
  role?: RoleName;
  nodes?: string[];
  labels?: Record<string, string>;
}

export interface FileSpec {
  /** Absolute; may hold templates until it is resolved. */
  path: string;
  /** Permission bits. */
  mode: number;
  /** Name or number; absent: the agent's own user. */
  owner?: string;
  group?: string;
}

export type OutputSpec =
  | { type: 'pem'; certificate: FileSpec; privateKey: FileSpec }
  | { type: 'chain'; file: FileSpec }
  | { type: 'combined'; file: FileSpec; dated: boolean }
  | {
      type: 'kubeconfig';
      file: FileSpec;
      clusterName: string;
      server: string;
      user: string;
      certificatePath?: string;
      privateKeyPath?: string;
      certificateAuthorityPath?: string;
    }
  | { type: 'pkcs12'; file: FileSpec; passwordPath: string };

/** Signals on which components read their certificates again, or end to be started anew. */
export const reloadSignals = ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGWINCH'] as const;

/** How kubelet is made to start a static pod anew: by moving its manifest out and back, or by a changed annotation in it. */
export const staticPodMethods = ['move', 'annotation'] as const;

export type ReloadKind =
  | { type: 'systemd'; unit: string; action: 'reload' | 'restart' | 'reload-or-restart' | 'try-restart' }
  | { type: 'signal'; pidPath: string; signal: (typeof reloadSignals)[number] }
  | { type: 'command'; argv: string[]; timeoutSeconds: number }
  | {
      type: 'static-pod';
      manifestPath: string;
      method: (typeof staticPodMethods)[number];
      /** Path of a pid file, `tls://HOST:PORT`, or an http(s) URL that answers 200: how the pod's end and return are seen. Absent: by time alone. */
      watch?: string;
      timeoutSeconds: number;
    };

export type ReloadSpec = ReloadKind & {
  /** Restarts what a cluster cannot do without: one node of the cluster at a time, by a lease of the coordinator. Absent: it does not. */
  oneAtATime?: boolean;
  /** Name of the component in the lease and in messages; absent: it follows from what is reloaded. */
  component?: string;
};

/** Where the component that serves with the certificate tells whether it is well, as etcd does on `/health`. */
export interface HealthCheckSpec {
  /** `https://HOST:PORT/PATH`; may hold templates until it is resolved. */
  url: string;
  /** Name of the certificate on the same node with which the agent asks. */
  clientCertificate: string;
  /** Name in reports; by default the manifest's name without an ending `-server`. */
  component?: string;
}

export interface ManifestMetadata {
  /** RFC 1123 label, 63 characters at most. */
  name: string;
  /** Where the document says which cluster it is for. */
  cluster?: string;
}

export interface CertificateManifest {
  kind: 'CertificateManifest';
  metadata: ManifestMetadata;
  spec: {
    selector: Selector;
    issuer: IssuerName;
    subject: { commonName: string; organizations: string[] };
    dnsNames: string[];
    ipAddresses: string[];
    usages: Usage[];
    /** Absent: the cluster's key algorithm. */
    keyAlgorithm?: KeyAlgorithm;
    /** Absent: the cluster's leaf lifetime. */
    lifetimeSeconds?: number;
    /** Part of the life after which renewal is due; 2/3 by default. */
    renewAt: number;
    outputs: OutputSpec[];
    reload?: ReloadSpec;
    /** `tls://HOST:PORT`; may hold templates. */
    verify?: string;
    healthCheck?: HealthCheckSpec;
    /** Whether the certificate says where to ask if it is revoked. Absent: it does not. */
    revocationInfo?: { crl: boolean; ocsp: boolean };
  };
}

export interface TrustBundleManifest {
  kind: 'TrustBundleManifest';
  metadata: ManifestMetadata;
  spec: {
    selector: Selector;
    issuer: IssuerName;
    file: FileSpec;
    reload?: ReloadSpec;
    /** `tls://HOST:PORT` of the component that accepts clients by this bundle: the CAs that it names to them are compared with it. May hold templates. */
    verify?: string;
  };
}

export const crlFormats = ['pem', 'der'] as const;
export type CrlFormat = (typeof crlFormats)[number];

/** A CA's CRL in a file, for components that read one. */
export interface RevocationListManifest {
  kind: 'RevocationListManifest';
  metadata: ManifestMetadata;
  spec: { selector: Selector; issuer: IssuerName; file: FileSpec; format: CrlFormat; reload?: ReloadSpec };
}

export interface KeyPairManifest {
  kind: 'KeyPairManifest';
  metadata: ManifestMetadata;
  /** Control-plane nodes alone may be selected: the selector's role is always `control-plane`. */
  spec: { selector: Selector; keyAlgorithm?: KeyAlgorithm; privateKey: FileSpec; publicKey: FileSpec; reload?: ReloadSpec };
}

/** Registers a node, its labels and what may stand in its certificates. */
export interface NodeManifest {
  kind: 'Node';
  metadata: ManifestMetadata & { labels: Record<string, string> };
  spec: { role: RoleName; addresses: string[]; dnsNames: string[] };
}

/** Sets a cluster's policy. Its CAs' algorithm and its layout are fixed when it is created. */
export interface ClusterManifest {
  kind: 'Cluster';
  metadata: ManifestMetadata;
  /** What is left out stays as it is, in `replacement` and `rotation` too. */
  spec: Partial<Omit<ClusterPolicy, 'replacement' | 'rotation'>> & {
    replacement?: Partial<ReplacementPolicy>;
    rotation?: Partial<RotationPolicy>;
  };
}

export interface ClusterPolicy {
  keyAlgorithm: KeyAlgorithm;
  layout: LayoutName;
  dnsDomain: string;
  serviceCidr: string;
  controlPlaneEndpoint: string;
  nodeAddressRanges: string[];
  allowedPaths: string[];
  leafLifetimeSeconds: number;
  identityLifetimeSeconds: number;
  apiServerExtraSans: string[];
  /** Who may come back on an expired identity, by role. */
  controlPlaneRecovery: RecoveryPolicy;
  workerRecovery: RecoveryPolicy;
  /** Absent in records of earlier releases: the default. */
  replacement?: ReplacementPolicy;
  /** Absent: the default. */
  rotation?: RotationPolicy;
  /** Certificates of the cluster's CAs that are in place on a joining node are taken over instead of being replaced at once. Absent: they are not. */
  adopt?: boolean;
}

/** `automatic`: whoever proves the newest key; `repair-window`: only while an admin has opened a window; `never`. */
export const recoveryPolicies = ['automatic', 'repair-window', 'never'] as const;
export type RecoveryPolicy = (typeof recoveryPolicies)[number];

export const defaultClusterPolicy: ClusterPolicy = {
  keyAlgorithm: 'ecdsa-p384',
  layout: 'founding',
  dnsDomain: 'cluster.local',
  serviceCidr: '10.96.0.0/12',
  controlPlaneEndpoint: '',
  nodeAddressRanges: [],
  allowedPaths: ['/etc/kubernetes', '/var/lib/kubelet/pki', '/etc/evercert/certificates'],
  leafLifetimeSeconds: 96 * 3600,
  identityLifetimeSeconds: 96 * 3600,
  apiServerExtraSans: [],
  controlPlaneRecovery: 'repair-window',
  workerRecovery: 'repair-window',
  replacement: defaultReplacementPolicy,
};

/** The API versions of RenewRevocation: the founding product's, and ours. */
export const revocationApiVersions = ['certificates.microsoft.com/v1', apiVersion] as const;
export type RevocationApiVersion = (typeof revocationApiVersions)[number];

/** Refuses renewal and issue of the certificates that its entries match. */
export interface RenewRevocation {
  kind: 'RenewRevocation';
  /** As the document has it. */
  apiVersion: RevocationApiVersion;
  metadata: ManifestMetadata & {
    /** Kept and shown; it decides nothing. */
    namespace?: string;
  };
  spec: { description: string; revocations: RevocationEntry[] };
}

interface RevocationEntryBase {
  description: string;
  /** Only certificates recorded as issued before this time, milliseconds; absent: all, present and future. */
  notBeforeMs?: number;
  /** For CRL and OCSP. */
  reason: RevocationReason;
}

/** One entry, its value in canonical form (@evercert/shared/revocation). */
export type RevocationEntry = RevocationEntryBase &
  (
    | {
        kind: 'SerialNumber';
        /** Lower-case hexadecimal, as `normalizeSerial` makes it. */
        serialNumber: string;
        /** Also what was issued after it for the same node and name, up to the time of revocation. */
        includeSuccessors: boolean;
      }
    | { kind: 'Group'; group: string }
    | { kind: 'DNS'; dns: string }
    | { kind: 'IP'; ip: string }
  );
export type RevocationKind = RevocationEntry['kind'];

/** The kinds that are stored per cluster and resolved for nodes. */
export type Manifest = CertificateManifest | TrustBundleManifest | KeyPairManifest | RevocationListManifest;
export type AnyDocument = Manifest | NodeManifest | ClusterManifest | RenewRevocation;

/** What templates can speak of, and what selectors match. */
export interface NodeFacts {
  name: string;
  role: RoleName;
  labels: Record<string, string>;
  /** Addresses that may stand in certificates; the first is the advertise address. */
  addresses: string[];
  dnsNames: string[];
}

export interface ClusterFacts {
  name: string;
  policy: ClusterPolicy;
  /** Base of the URLs of CRLs and OCSP, without a slash at its end; absent: the coordinator serves none. */
  webUrl?: string;
}

/** A certificate for one node, with nothing left to decide. */
export interface ResolvedCertificate {
  name: string;
  issuer: IssuerName;
  commonName: string;
  organizations: string[];
  dnsNames: string[];
  ipAddresses: string[];
  usages: Usage[];
  keyAlgorithm: KeyAlgorithm;
  lifetimeSeconds: number;
  renewAt: number;
  outputs: OutputSpec[];
  reload?: ReloadSpec;
  verify?: string;
  healthCheck?: Required<HealthCheckSpec>;
  /** In the certificate; absent: nothing of the kind. */
  revocationUrls?: RevocationUrls;
  /** SHA-256 over what is in the certificate (issuer, subject, names, usages, key, lifetime): a change means a new certificate; files, reload and checks do not. */
  specHash: string;
}

/** Where a certificate sends whoever wants to know whether it is revoked. */
export interface RevocationUrls {
  crlUrls?: string[];
  ocspUrls?: string[];
  caIssuerUrls?: string[];
}

export interface ResolvedRevocationList {
  name: string;
  issuer: IssuerName;
  file: FileSpec;
  format: CrlFormat;
  reload?: ReloadSpec;
}

export interface ResolvedBundle {
  name: string;
  issuer: IssuerName;
  file: FileSpec;
  reload?: ReloadSpec;
  verify?: string;
}

export interface ResolvedKeyPair {
  name: string;
  keyAlgorithm: KeyAlgorithm;
  privateKey: FileSpec;
  publicKey: FileSpec;
  reload?: ReloadSpec;
}

export interface ResolvedNode {
  certificates: ResolvedCertificate[];
  bundles: ResolvedBundle[];
  keyPairs: ResolvedKeyPair[];
  revocationLists: ResolvedRevocationList[];
}
