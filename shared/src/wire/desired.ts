/** The one place that converts desired state between the protocol and the domain. */
import type * as proto from '@evercert/proto';
import { EvercertError } from '../errors/index.ts';
import {
  crlFormats,
  type FileSpec,
  type IssuerName,
  issuers,
  type OutputSpec,
  type ReloadKind,
  type ReloadSpec,
  type ResolvedBundle,
  type ResolvedCertificate,
  type ResolvedKeyPair,
  type ResolvedRevocationList,
  reloadSignals,
  staticPodMethods,
} from '../manifest/types.ts';
import { type KeyAlgorithm, keyAlgorithms, type Usage, usages } from '../x509/types.ts';

/** Drops undefined properties, which exactOptionalPropertyTypes tells from absent ones. */
type Optional<T> = { [K in keyof T]?: Exclude<T[K], undefined> };
function present<T extends object>(fields: T): Optional<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Optional<T>;
}

function oneOf<T extends string>(known: readonly T[], value: string, field: string): T {
  const found = known.find((candidate) => candidate === value);
  if (found === undefined) {
    throw new EvercertError(
      'InvalidArgument',
      `the coordinator sent ${field} "${value}", which this agent does not know: upgrade the agent`,
    );
  }
  return found;
}

function fileToProto(file: FileSpec): proto.FileSpec {
  return { path: file.path, mode: file.mode, owner: file.owner ?? '', group: file.group ?? '' };
}

function fileFromProto(file: proto.FileSpec | undefined): FileSpec {
  if (!file) throw new EvercertError('InvalidArgument', 'the coordinator sent an output without a file');
  // As the schema of manifests: no file of ours is a program, nor writable by any but its owner.
  if ((file.mode & ~0o644) !== 0)
    throw new EvercertError(
      'InvalidArgument',
      `the coordinator sent mode 0${file.mode.toString(8)} for ${file.path}; at most 0644 was expected`,
    );
  return { path: file.path, mode: file.mode, ...present({ owner: file.owner || undefined, group: file.group || undefined }) };
}

function outputToProto(output: OutputSpec): proto.Output {
  switch (output.type) {
    case 'pem':
      return {
        kind: { $case: 'pem', value: { certificate: fileToProto(output.certificate), privateKey: fileToProto(output.privateKey) } },
      };
    case 'chain':
      return { kind: { $case: 'chain', value: { file: fileToProto(output.file) } } };
    case 'combined':
      return { kind: { $case: 'combined', value: { file: fileToProto(output.file), dated: output.dated } } };
    case 'pkcs12':
      return { kind: { $case: 'pkcs12', value: { file: fileToProto(output.file), passwordPath: output.passwordPath } } };
    case 'kubeconfig':
      return {
        kind: {
          $case: 'kubeconfig',
          value: {
            file: fileToProto(output.file),
            clusterName: output.clusterName,
            server: output.server,
            user: output.user,
            certificatePath: output.certificatePath ?? '',
            privateKeyPath: output.privateKeyPath ?? '',
            certificateAuthorityPath: output.certificateAuthorityPath ?? '',
          },
        },
      };
  }
}

function outputFromProto({ kind }: proto.Output): OutputSpec {
  switch (kind?.$case) {
    case 'pem':
      return { type: 'pem', certificate: fileFromProto(kind.value.certificate), privateKey: fileFromProto(kind.value.privateKey) };
    case 'chain':
      return { type: 'chain', file: fileFromProto(kind.value.file) };
    case 'combined':
      return { type: 'combined', file: fileFromProto(kind.value.file), dated: kind.value.dated };
    case 'pkcs12':
      return { type: 'pkcs12', file: fileFromProto(kind.value.file), passwordPath: kind.value.passwordPath };
    case 'kubeconfig': {
      const { file, clusterName, server, user, certificatePath, privateKeyPath, certificateAuthorityPath } = kind.value;
      return {
        type: 'kubeconfig',
        file: fileFromProto(file),
        clusterName,
        server,
        user,
        ...present({
          certificatePath: certificatePath || undefined,
          privateKeyPath: privateKeyPath || undefined,
          certificateAuthorityPath: certificateAuthorityPath || undefined,
        }),
      };
    }
    default:
      throw new EvercertError(
        'InvalidArgument',
        'the coordinator sent an output of a kind that this agent does not know: upgrade the agent',
      );
  }
}

function reloadToProto(reload: ReloadSpec | undefined): proto.Reload | undefined {
  return reload && { kind: reloadKindToProto(reload), oneAtATime: reload.oneAtATime ?? false, component: reload.component ?? '' };
}

function reloadKindToProto(reload: ReloadKind): proto.Reload['kind'] {
  switch (reload.type) {
    case 'systemd':
      return { $case: 'systemd', value: { unit: reload.unit, action: reload.action } };
    case 'signal':
      return { $case: 'signal', value: { pidPath: reload.pidPath, signal: reload.signal } };
    case 'command':
      return { $case: 'command', value: { argv: reload.argv, timeoutSeconds: reload.timeoutSeconds } };
    case 'static-pod': {
      const { manifestPath, method, watch = '', timeoutSeconds } = reload;
      return { $case: 'staticPod', value: { manifestPath, method, watch, timeoutSeconds } };
    }
  }
}

const systemdActions = ['reload', 'restart', 'reload-or-restart', 'try-restart'] as const;

function reloadFromProto(reload: proto.Reload | undefined): ReloadSpec | undefined {
  const kind = reload && reloadKindFromProto(reload.kind);
  return kind && { ...kind, ...present({ oneAtATime: reload.oneAtATime || undefined, component: reload.component || undefined }) };
}

function reloadKindFromProto(kind: proto.Reload['kind']): ReloadKind | undefined {
  switch (kind?.$case) {
    case 'systemd':
      return { type: 'systemd', unit: kind.value.unit, action: oneOf(systemdActions, kind.value.action, 'a systemd action') };
    case 'signal':
      return { type: 'signal', pidPath: kind.value.pidPath, signal: oneOf(reloadSignals, kind.value.signal, 'the signal') };
    case 'command':
      return { type: 'command', argv: kind.value.argv, timeoutSeconds: kind.value.timeoutSeconds };
    case 'staticPod': {
      const { manifestPath, method, watch, timeoutSeconds } = kind.value;
      return {
        type: 'static-pod',
        manifestPath,
        method: oneOf(staticPodMethods, method, 'the static pod method'),
        timeoutSeconds,
        ...present({ watch: watch || undefined }),
      };
    }
    default:
      return undefined;
  }
}

export function desiredCertificateToProto(
  certificate: ResolvedCertificate,
  trustAnchors: Buffer[],
  marks: {
    renewIfIssuedBefore?: Date | undefined;
    revoked?: proto.RevocationReference | undefined;
    adopt?: boolean;
    knownSerial?: string | undefined;
    watchOnly?: boolean;
  } = {},
): proto.DesiredCertificate {
  const { outputs, reload, verify, ...rest } = certificate;
  return {
    ...rest,
    outputs: outputs.map(outputToProto),
    reload: reloadToProto(reload),
    verify: verify ?? '',
    trustAnchors,
    renewIfIssuedBefore: marks.renewIfIssuedBefore,
    revoked: marks.revoked,
    adopt: marks.adopt ?? false,
    knownSerial: marks.knownSerial,
    watchOnly: marks.watchOnly ?? false,
  };
}

export function desiredCertificateFromProto(certificate: proto.DesiredCertificate): ResolvedCertificate {
  const { name, commonName, organizations, dnsNames, ipAddresses, lifetimeSeconds, renewAt, specHash } = certificate;
  return {
    name,
    commonName,
    organizations,
    dnsNames,
    ipAddresses,
    lifetimeSeconds,
    renewAt,
    specHash,
    issuer: issuerFromProto(certificate.issuer),
    usages: certificate.usages.map((usage): Usage => oneOf(usages, usage, 'the usage')),
    keyAlgorithm: oneOf<KeyAlgorithm>(keyAlgorithms, certificate.keyAlgorithm, 'the key algorithm'),
    outputs: certificate.outputs.map(outputFromProto),
    ...present({ reload: reloadFromProto(certificate.reload), verify: certificate.verify || undefined }),
  };
}

function issuerFromProto(issuer: string): IssuerName {
  return oneOf<IssuerName>(issuers, issuer, 'the issuer');
}

export function desiredBundleToProto(bundle: ResolvedBundle, version: number, certificates: Buffer[]): proto.DesiredBundle {
  const { name, issuer, file, reload, verify = '' } = bundle;
  return { name, issuer, version, certificates, file: fileToProto(file), reload: reloadToProto(reload), verify };
}

export function desiredBundleFromProto(bundle: proto.DesiredBundle): ResolvedBundle & { version: number; certificates: Buffer[] } {
  const { name, version, certificates } = bundle;
  return {
    name,
    version,
    issuer: issuerFromProto(bundle.issuer),
    certificates: certificates.map((der) => Buffer.from(der)),
    file: fileFromProto(bundle.file),
    ...present({ reload: reloadFromProto(bundle.reload), verify: bundle.verify || undefined }),
  };
}

export function desiredRevocationListToProto(
  list: ResolvedRevocationList,
  { number, der, earlier = [] }: { number: number; der: Buffer; earlier?: Buffer[] },
  trustAnchors: Buffer[],
): proto.DesiredRevocationList {
  const { name, issuer, file, format, reload } = list;
  const files = { file: fileToProto(file), format, reload: reloadToProto(reload) };
  return { name, issuer, number, crl: der, earlierCrls: earlier, ...files, trustAnchors };
}

export function desiredRevocationListFromProto(
  list: proto.DesiredRevocationList,
): ResolvedRevocationList & { number: number; crl: Buffer; earlierCrls: Buffer[]; trustAnchors: Buffer[] } {
  const { name, number, crl, earlierCrls, trustAnchors } = list;
  return {
    name,
    number,
    crl: Buffer.from(crl),
    earlierCrls: earlierCrls.map((der) => Buffer.from(der)),
    trustAnchors: trustAnchors.map((der) => Buffer.from(der)),
    issuer: issuerFromProto(list.issuer),
    format: oneOf(crlFormats, list.format, 'the CRL format'),
    file: fileFromProto(list.file),
    ...present({ reload: reloadFromProto(list.reload) }),
  };
}

export function desiredKeyPairToProto(pair: ResolvedKeyPair, version: string): proto.DesiredKeyPair {
  const { name, privateKey, publicKey, reload } = pair;
  return { name, version, privateKey: fileToProto(privateKey), publicKey: fileToProto(publicKey), reload: reloadToProto(reload) };
}

export function desiredKeyPairFromProto(pair: proto.DesiredKeyPair): Omit<ResolvedKeyPair, 'keyAlgorithm'> & { version: string } {
  const { name, version, privateKey, publicKey, reload } = pair;
  return {
    name,
    version,
    privateKey: fileFromProto(privateKey),
    publicKey: fileFromProto(publicKey),
    ...present({ reload: reloadFromProto(reload) }),
  };
}
