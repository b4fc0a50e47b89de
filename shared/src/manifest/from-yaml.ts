import type { z } from 'zod';
import type { KeyAlgorithm } from '../x509/types.ts';
import type { RawReplacementSpec, RawWindow } from './replacement-schema.ts';
import type { RawRotationSpec } from './rotation-schema.ts';
import type { documentSchemas, RawCertificateSpec, RawClusterSpec, RawFile, RawOutput, RawPrivateKey, RawReload } from './schema.ts';
import type {
  AnyDocument,
  CertificateManifest,
  ClusterManifest,
  FileSpec,
  MaintenanceWindow,
  ManifestMetadata,
  OutputSpec,
  ReloadKind,
  ReloadSpec,
  ReplacementPolicy,
  RevocationApiVersion,
  RotationPolicy,
  Selector,
} from './types.ts';

type Raw<K extends keyof typeof documentSchemas> = z.output<(typeof documentSchemas)[K]>;

/** Modes where a manifest does not say. */
export const defaultModes = { public: 0o644, secret: 0o600 } as const;

/** What a kubeconfig says where a manifest does not. */
const kubeconfigDefaults = { clusterName: '{{ cluster.name }}', server: 'https://{{ cluster.endpoint }}' } as const;

/** The same object without the properties that are undefined, as `exactOptionalPropertyTypes` wants it. */
type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

function defined<T extends object>(object: T): Defined<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Defined<T>;
}

/** Turns documents that fit their schemas into the product's types, with every default put in. */
export const fromYaml: { [K in keyof typeof documentSchemas]: (raw: Raw<K>) => AnyDocument } = {
  CertificateManifest: (raw) => ({ kind: 'CertificateManifest', metadata: metadataOf(raw.metadata), spec: certificateSpec(raw.spec) }),
  TrustBundleManifest: ({ metadata, spec }) => ({
    kind: 'TrustBundleManifest',
    metadata: metadataOf(metadata),
    spec: defined({
      selector: selectorOf(spec.selector),
      issuer: spec.issuer,
      file: fileSpec(spec.file, defaultModes.public),
      reload: reloadSpec(spec.reload),
      verify: spec.verify,
    }),
  }),
  RevocationListManifest: ({ metadata, spec }) => ({
    kind: 'RevocationListManifest',
    metadata: metadataOf(metadata),
    spec: defined({
      selector: selectorOf(spec.selector),
      issuer: spec.issuer,
      file: fileSpec(spec.file, defaultModes.public),
      format: spec.format,
      reload: reloadSpec(spec.reload),
    }),
  }),
  KeyPairManifest: ({ metadata, spec }) => ({
    kind: 'KeyPairManifest',
    metadata: metadataOf(metadata),
    spec: defined({
      selector: selectorOf(spec.selector),
      keyAlgorithm: spec.privateKeyAlgorithm,
      privateKey: fileSpec(spec.privateKey, defaultModes.secret),
      publicKey: fileSpec(spec.publicKey, defaultModes.public),
      reload: reloadSpec(spec.reload),
    }),
  }),
  Node: ({ metadata, spec }) => ({ kind: 'Node', metadata: { ...metadataOf(metadata), labels: metadata.labels }, spec }),
  Cluster: ({ metadata, spec }) => ({ kind: 'Cluster', metadata: metadataOf(metadata), spec: policyOf(spec) }),
  RenewRevocation: ({ apiVersion, metadata, spec }) => ({
    kind: 'RenewRevocation',
    // The header was checked before.
    apiVersion: apiVersion as RevocationApiVersion,
    metadata: defined({ ...metadataOf(metadata), namespace: metadata.namespace }),
    spec,
  }),
};

function metadataOf(raw: { name: string; cluster?: string | undefined }): ManifestMetadata {
  return defined({ name: raw.name, cluster: raw.cluster });
}

function selectorOf(raw: { [K in keyof Selector]: Selector[K] | undefined }): Selector {
  return defined({ role: raw.role, nodes: raw.nodes, labels: raw.labels });
}

function certificateSpec(raw: RawCertificateSpec): CertificateManifest['spec'] {
  const files: OutputSpec[] = raw.files === undefined ? [] : [pemOutput(raw.files)];
  return defined({
    selector: selectorOf(raw.selector),
    issuer: raw.issuer,
    subject: raw.subject,
    dnsNames: raw.dnsNames,
    ipAddresses: raw.ipAddresses,
    usages: raw.usages,
    keyAlgorithm: raw.privateKey === undefined ? undefined : keyAlgorithmOf(raw.privateKey),
    lifetimeSeconds: raw.lifetime,
    renewAt: raw.renewAt,
    outputs: [...files, ...raw.outputs.map((output) => outputSpec(output, raw.subject.commonName))],
    reload: reloadSpec(raw.reload),
    verify: raw.verify,
    // Neither of the two is the same as nothing said.
    revocationInfo: raw.revocationInfo?.crl || raw.revocationInfo?.ocsp ? raw.revocationInfo : undefined,
    healthCheck: raw.healthCheck === undefined ? undefined : defined(raw.healthCheck),
  });
}

function keyAlgorithmOf({ algorithm, size }: RawPrivateKey): KeyAlgorithm {
  if (algorithm === 'RSA') return size === 3072 ? 'rsa-3072' : 'rsa-4096';
  return size === 256 ? 'ecdsa-p256' : 'ecdsa-p384';
}

function pemOutput(raw: { certificate: RawFile; privateKey: RawFile }): OutputSpec {
  return {
    type: 'pem',
    certificate: fileSpec(raw.certificate, defaultModes.public),
    privateKey: fileSpec(raw.privateKey, defaultModes.secret),
  };
}

function outputSpec(raw: RawOutput, commonName: string): OutputSpec {
  if (raw.pem !== undefined) return pemOutput(raw.pem);
  if (raw.chain !== undefined) return { type: 'chain', file: fileSpec(raw.chain, defaultModes.public) };
  if (raw.combined !== undefined) {
    return { type: 'combined', file: fileSpec(raw.combined, defaultModes.secret), dated: raw.combined.dated };
  }
  if (raw.pkcs12 !== undefined) {
    return { type: 'pkcs12', file: fileSpec(raw.pkcs12, defaultModes.secret), passwordPath: raw.pkcs12.passwordFile };
  }
  const kubeconfig = raw.kubeconfig!;
  return defined({
    type: 'kubeconfig' as const,
    file: fileSpec(kubeconfig, defaultModes.secret),
    clusterName: kubeconfig.clusterName ?? kubeconfigDefaults.clusterName,
    server: kubeconfig.server ?? kubeconfigDefaults.server,
    user: kubeconfig.user ?? commonName,
    certificatePath: kubeconfig.certificate,
    privateKeyPath: kubeconfig.privateKey,
    certificateAuthorityPath: kubeconfig.certificateAuthority,
  });
}

function fileSpec(raw: RawFile, defaultMode: number): FileSpec {
  return defined({ path: raw.path, mode: raw.mode ?? defaultMode, owner: raw.owner, group: raw.group });
}

function reloadSpec(raw: RawReload | undefined): ReloadSpec | undefined {
  const kind = raw && reloadKind(raw);
  return kind && defined({ ...kind, oneAtATime: raw.oneAtATime || undefined, component: raw.component });
}

function reloadKind({ systemd, signal, command, staticPod }: RawReload): ReloadKind | undefined {
  if (systemd !== undefined) return { type: 'systemd', ...systemd };
  if (signal !== undefined) return { type: 'signal', pidPath: signal.pidFile, signal: signal.signal };
  if (command !== undefined) return { type: 'command', argv: command.argv, timeoutSeconds: command.timeout };
  if (staticPod === undefined) return undefined;
  const { manifest, method, watch, timeout } = staticPod;
  return defined({ type: 'static-pod' as const, manifestPath: manifest, method, watch, timeoutSeconds: timeout });
}

function policyOf(raw: RawClusterSpec): ClusterManifest['spec'] {
  const { leafLifetime, identityLifetime, replacement, rotation, ...same } = raw;
  return defined({
    ...same,
    leafLifetimeSeconds: leafLifetime,
    identityLifetimeSeconds: identityLifetime,
    replacement: replacement === undefined ? undefined : replacementOf(replacement),
    rotation: rotation === undefined ? undefined : rotationOf(rotation),
  });
}

function replacementOf(raw: RawReplacementSpec): Partial<ReplacementPolicy> {
  const { grace, drainTimeout, joinTimeout, backoff, maxBackoff, maintenanceWindows, ...same } = raw;
  return defined({
    ...same,
    graceSeconds: grace,
    drainTimeoutSeconds: drainTimeout,
    joinTimeoutSeconds: joinTimeout,
    backoffSeconds: backoff,
    maxBackoffSeconds: maxBackoff,
    maintenanceWindows: maintenanceWindows?.map(windowOf),
  });
}

function rotationOf({ before, settle, ...same }: RawRotationSpec): Partial<RotationPolicy> {
  return defined({ ...same, beforeSeconds: before, settleSeconds: settle });
}

function windowOf({ name, from, until, days, start, duration, nodes, labels }: RawWindow): MaintenanceWindow {
  const time: MaintenanceWindow['time'] =
    from !== undefined && until !== undefined
      ? { type: 'once', fromMs: from, untilMs: until }
      : { type: 'recurring', days: days ?? [], startMinutes: start ?? 0, durationSeconds: duration ?? 0 };
  return { name, time, selector: defined({ nodes, labels }) };
}
