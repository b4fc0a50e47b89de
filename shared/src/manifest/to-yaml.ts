import { Document } from 'yaml';
import { formatDuration, formatFileMode } from '../config/index.ts';
import type { KeyAlgorithm } from '../x509/types.ts';
import { defaultModes } from './from-yaml.ts';
import { formatTimeOfDay } from './replacement.ts';
import type { RawReplacementSpec, RawWindow } from './replacement-schema.ts';
import { revocationSpec } from './revocation.ts';
import { formatRfc3339 } from './rfc3339.ts';
import type { RawRotationSpec } from './rotation-schema.ts';
import type { RawClusterSpec } from './schema.ts';
import {
  type AnyDocument,
  apiVersion,
  type CertificateManifest,
  type ClusterManifest,
  type FileSpec,
  type MaintenanceWindow,
  type OutputSpec,
  type ReloadKind,
  type ReloadSpec,
  type ReplacementPolicy,
  type RotationPolicy,
  type Selector,
} from './types.ts';

/** The document as canonical YAML: the same text for the same content, which `parseDocuments` reads back to the same content. */
export function toYaml(document: AnyDocument): string {
  const version = document.kind === 'RenewRevocation' ? document.apiVersion : apiVersion;
  const plain = compact({ apiVersion: version, kind: document.kind, metadata: metadataOf(document), spec: specOf(document) });
  return new Document(plain, { aliasDuplicateObjects: false }).toString({ lineWidth: 0 });
}

function metadataOf(document: AnyDocument): unknown {
  const { name, cluster } = document.metadata;
  return {
    name,
    cluster,
    labels: document.kind === 'Node' ? document.metadata.labels : undefined,
    namespace: document.kind === 'RenewRevocation' ? document.metadata.namespace : undefined,
  };
}

function selectorOf({ role, nodes, labels }: Selector): unknown {
  return { role, nodes, labels };
}

function specOf(document: AnyDocument): unknown {
  switch (document.kind) {
    case 'CertificateManifest':
      return certificateSpec(document.spec);
    case 'TrustBundleManifest': {
      const { selector, issuer, file, reload, verify } = document.spec;
      return { selector: selectorOf(selector), issuer, file: fileOf(file, defaultModes.public), reload: reloadOf(reload), verify };
    }
    case 'RevocationListManifest': {
      const { selector, issuer, file, format, reload } = document.spec;
      return { selector: selectorOf(selector), issuer, file: fileOf(file, defaultModes.public), format, reload: reloadOf(reload) };
    }
    case 'KeyPairManifest': {
      const { selector, keyAlgorithm, privateKey, publicKey, reload } = document.spec;
      return {
        selector: selectorOf(selector),
        privateKeyAlgorithm: keyAlgorithm,
        privateKey: fileOf(privateKey, defaultModes.secret),
        publicKey: fileOf(publicKey, defaultModes.public),
        reload: reloadOf(reload),
      };
    }
    case 'Node':
      return { role: document.spec.role, addresses: document.spec.addresses, dnsNames: document.spec.dnsNames };
    case 'Cluster':
      return policyOf(document.spec);
    case 'RenewRevocation':
      return revocationSpec(document.spec);
  }
}

function certificateSpec(spec: CertificateManifest['spec']): unknown {
  const [first, ...rest] = spec.outputs;
  const leading = first?.type === 'pem' ? first : undefined;
  const others = leading === undefined ? spec.outputs : rest;
  return {
    selector: selectorOf(spec.selector),
    issuer: spec.issuer,
    subject: { commonName: spec.subject.commonName, organizations: spec.subject.organizations },
    dnsNames: spec.dnsNames,
    ipAddresses: spec.ipAddresses,
    usages: spec.usages,
    privateKey: spec.keyAlgorithm === undefined ? undefined : privateKeyOf(spec.keyAlgorithm),
    lifetime: spec.lifetimeSeconds === undefined ? undefined : formatDuration(spec.lifetimeSeconds * 1000),
    renewAt: spec.renewAt === 2 / 3 ? '2/3' : spec.renewAt,
    files: leading === undefined ? undefined : pemOf(leading),
    outputs: others.length === 0 ? undefined : others.map(outputOf),
    reload: reloadOf(spec.reload),
    verify: spec.verify,
    revocationInfo: spec.revocationInfo,
    healthCheck: spec.healthCheck,
  };
}

function privateKeyOf(algorithm: KeyAlgorithm): { algorithm: string; size: number } {
  const [family, size] = algorithm.split('-') as [string, string];
  return { algorithm: family.toUpperCase(), size: Number(size.replace('p', '')) };
}

function pemOf(output: Extract<OutputSpec, { type: 'pem' }>): unknown {
  return { certificate: fileOf(output.certificate, defaultModes.public), privateKey: fileOf(output.privateKey, defaultModes.secret) };
}

function outputOf(output: OutputSpec): unknown {
  switch (output.type) {
    case 'pem':
      return { pem: pemOf(output) };
    case 'chain':
      return { chain: fileOf(output.file, defaultModes.public) };
    case 'combined':
      return {
        combined: output.dated ? { ...fullFile(output.file, defaultModes.secret), dated: true } : fileOf(output.file, defaultModes.secret),
      };
    case 'pkcs12':
      return { pkcs12: { ...fullFile(output.file, defaultModes.secret), passwordFile: output.passwordPath } };
    case 'kubeconfig':
      return {
        kubeconfig: {
          ...fullFile(output.file, defaultModes.secret),
          clusterName: output.clusterName,
          server: output.server,
          user: output.user,
          certificate: output.certificatePath,
          privateKey: output.privateKeyPath,
          certificateAuthority: output.certificateAuthorityPath,
        },
      };
  }
}

/** A file as its path alone where nothing else is to say. */
function fileOf(file: FileSpec, defaultMode: number): unknown {
  const full = compact(fullFile(file, defaultMode)) as object;
  return Object.keys(full).length === 1 ? file.path : full;
}

function fullFile(file: FileSpec, defaultMode: number): object {
  return { path: file.path, mode: file.mode === defaultMode ? undefined : formatFileMode(file.mode), owner: file.owner, group: file.group };
}

function reloadOf(reload: ReloadSpec | undefined): unknown {
  if (reload === undefined) return undefined;
  return { ...reloadKindOf(reload), oneAtATime: reload.oneAtATime || undefined, component: reload.component };
}

function reloadKindOf(reload: ReloadKind): object {
  switch (reload.type) {
    case 'systemd':
      return { systemd: { unit: reload.unit, action: reload.action } };
    case 'signal':
      return { signal: { pidFile: reload.pidPath, signal: reload.signal } };
    case 'command':
      return { command: { argv: reload.argv, timeout: durationOf(reload.timeoutSeconds) } };
    case 'static-pod': {
      const { manifestPath: manifest, method, watch, timeoutSeconds } = reload;
      return { staticPod: { manifest, method, watch, timeout: durationOf(timeoutSeconds) } };
    }
  }
}

function durationOf(seconds: number | undefined): string | undefined {
  return seconds === undefined ? undefined : formatDuration(seconds * 1000);
}

function policyOf(policy: ClusterManifest['spec']): unknown {
  return {
    keyAlgorithm: policy.keyAlgorithm,
    layout: policy.layout,
    dnsDomain: policy.dnsDomain,
    serviceCidr: policy.serviceCidr,
    controlPlaneEndpoint: policy.controlPlaneEndpoint,
    nodeAddressRanges: policy.nodeAddressRanges,
    allowedPaths: policy.allowedPaths,
    leafLifetime: durationOf(policy.leafLifetimeSeconds),
    identityLifetime: durationOf(policy.identityLifetimeSeconds),
    apiServerExtraSans: policy.apiServerExtraSans,
    controlPlaneRecovery: policy.controlPlaneRecovery,
    workerRecovery: policy.workerRecovery,
    replacement: policy.replacement && replacementOf(policy.replacement),
    rotation: policy.rotation && rotationOf(policy.rotation),
    adopt: policy.adopt,
  } satisfies Record<keyof RawClusterSpec, unknown>;
}

function replacementOf(policy: Partial<ReplacementPolicy>): unknown {
  return {
    provisioner: policy.provisioner,
    mode: policy.mode,
    grace: durationOf(policy.graceSeconds),
    maxUnhealthy: policy.maxUnhealthy && unhealthyOf(policy.maxUnhealthy),
    maxConcurrent: policy.maxConcurrent,
    maxPerHour: policy.maxPerHour,
    drainTimeout: durationOf(policy.drainTimeoutSeconds),
    joinTimeout: durationOf(policy.joinTimeoutSeconds),
    backoff: durationOf(policy.backoffSeconds),
    maxBackoff: durationOf(policy.maxBackoffSeconds),
    maintenanceWindows: policy.maintenanceWindows?.map(windowOf),
  } satisfies Record<keyof RawReplacementSpec, unknown>;
}

function rotationOf({ automatic, beforeSeconds, maxConcurrent, settleSeconds }: Partial<RotationPolicy>): unknown {
  return {
    automatic,
    before: durationOf(beforeSeconds),
    maxConcurrent,
    settle: durationOf(settleSeconds),
  } satisfies Record<keyof RawRotationSpec, unknown>;
}

/** A bare number where it is a count, as one writes it. */
function unhealthyOf(text: string): string | number {
  return /^\d+$/.test(text) ? Number(text) : text;
}

function windowOf({ name, time, selector: { nodes, labels } }: MaintenanceWindow): unknown {
  const once = time.type === 'once' ? time : undefined;
  const recurring = time.type === 'recurring' ? time : undefined;
  return {
    name,
    from: once && formatRfc3339(once.fromMs),
    until: once && formatRfc3339(once.untilMs),
    days: recurring && recurring.days.length > 0 ? recurring.days : undefined,
    start: recurring && formatTimeOfDay(recurring.startMinutes),
    duration: durationOf(recurring?.durationSeconds),
    nodes,
    labels,
  } satisfies Record<keyof RawWindow, unknown>;
}

/** The value without properties that are undefined, labels in order of their keys. */
function compact(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => compact(item));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  if (key === 'labels') entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, inner]) => [name, compact(inner, name)]));
}
