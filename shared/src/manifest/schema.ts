/** The YAML form of the documents. What it says is turned into the types of `types.ts` by `from-yaml.ts`; what needs a node or a cluster is checked by `resolve.ts`. */
import { z } from 'zod';
import { canonicalAddress, describeValue, dnsNameFault, durationSeconds, fileMode, ipRange, parseHostPort } from '../config/index.ts';
import { keyAlgorithms, usages } from '../x509/types.ts';
import { replacementSpec } from './replacement-schema.ts';
import { renewRevocationSpec } from './revocation-schema.ts';
import { rotationSpec } from './rotation-schema.ts';
import { documentLimits, isUnique, labels, list, nodeName, objectName, subdomain, text, textOrNumber, unique } from './schema-fields.ts';
import { crlFormats, issuers, layouts, recoveryPolicies, reloadSignals, roles, staticPodMethods } from './types.ts';

const selector = z.strictObject({
  role: z.enum(roles).optional(),
  nodes: list(nodeName).min(1).refine(isUnique, unique).optional(),
  labels: labels.optional(),
});

const account = textOrNumber.refine((name) => /^(?:[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|\d{1,10})$/.test(name), {
  error: 'expected the name or number of a user or group of the node',
});

const fileShape = { path: text, mode: fileMode().optional(), owner: account.optional(), group: account.optional() };

/** A mapping with `path`, or text that stands for one. */
function pathOr<T extends z.ZodType>(mapping: T): z.ZodPreprocess<T> {
  return z.preprocess((value) => (typeof value === 'string' ? { path: value } : value), mapping);
}

const file = pathOr(z.strictObject(fileShape));
export type RawFile = z.output<typeof file>;

const pem = z.strictObject({ certificate: file, privateKey: file });

/** A mapping that holds exactly one of the keys of `shape`, as `{ chain: … }`, and may hold those of `beside`. */
function oneOf<T extends z.ZodRawShape, B extends z.ZodRawShape = Record<never, never>>(shape: T, beside?: B) {
  const names = Object.keys(shape);
  return z
    .strictObject({ ...shape, ...beside } as T & B)
    .refine((value) => names.filter((name) => (value as Record<string, unknown>)[name] !== undefined).length === 1, {
      error: `expected exactly one of: ${names.join(', ')}`,
    });
}

const output = oneOf({
  pem: pem.optional(),
  chain: file.optional(),
  combined: pathOr(z.strictObject({ ...fileShape, dated: z.boolean().default(false) })).optional(),
  kubeconfig: pathOr(
    z.strictObject({
      ...fileShape,
      clusterName: text.optional(),
      server: text.optional(),
      user: text.optional(),
      certificate: text.optional(),
      privateKey: text.optional(),
      certificateAuthority: text.optional(),
    }),
  )
    .refine((value) => (value.certificate === undefined) === (value.privateKey === undefined), {
      error: 'expected certificate and privateKey together, or neither to embed both',
    })
    .optional(),
  pkcs12: z.strictObject({ ...fileShape, passwordFile: text }).optional(),
});
export type RawOutput = z.output<typeof output>;

const systemd = z.strictObject({
  unit: z.string().refine((unit) => /^[A-Za-z0-9:_.\\@-]{1,240}\.(?:service|socket|target|path|timer)$/.test(unit), {
    error: 'expected the whole name of a systemd unit, such as "nginx.service"',
  }),
  action: z.enum(['reload', 'restart', 'reload-or-restart', 'try-restart']).default('reload-or-restart'),
});
const signal = z.strictObject({
  pidFile: text,
  signal: z.enum(reloadSignals).default('SIGHUP'),
});
const command = z.preprocess(
  (value) => (Array.isArray(value) ? { argv: value } : value),
  z.strictObject({
    argv: z
      .array(text)
      .min(1)
      .max(documentLimits.argvItems)
      .refine((argv) => argv[0]!.startsWith('/'), { error: 'expected the absolute path of a program first; a shell is not used' }),
    timeout: durationSeconds({ min: '1s', max: '10m' }).default(30),
  }),
);
const staticPod = z.preprocess(
  (value) => (typeof value === 'string' ? { manifest: value } : value),
  z.strictObject({
    manifest: text,
    method: z.enum(staticPodMethods).default('move'),
    watch: text.optional(),
    timeout: durationSeconds({ min: '10s', max: '10m' }).default(300),
  }),
);
const reload = oneOf(
  { systemd: systemd.optional(), signal: signal.optional(), command: command.optional(), staticPod: staticPod.optional() },
  { oneAtATime: z.boolean().default(false), component: objectName.optional() },
);
export type RawReload = z.output<typeof reload>;

const privateKey = z
  .strictObject({ algorithm: z.enum(['ECDSA', 'RSA']), size: z.number().optional() })
  .refine(({ algorithm, size }) => size === undefined || (algorithm === 'ECDSA' ? [256, 384] : [3072, 4096]).includes(size), {
    error: 'expected size 384 or 256 for ECDSA, 4096 or 3072 for RSA',
    path: ['size'],
  });
export type RawPrivateKey = z.output<typeof privateKey>;

const renewAtExample = 'a part of the life, such as 2/3, 0.66 or 66%';
const renewAt = z.preprocess(
  parsePart,
  z
    .number({ error: (issue) => `expected ${renewAtExample}, found ${describeValue(issue.input)}` })
    .gt(0)
    .lt(1),
);

function parsePart(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  const [, numerator, denominator] = /^(\d{1,6})\s*\/\s*(\d{1,6})$/.exec(value) ?? [];
  if (numerator !== undefined && Number(denominator) !== 0) return Number(numerator) / Number(denominator);
  const [, percent] = /^(\d{1,3}(?:\.\d{1,6})?)\s*%$/.exec(value) ?? [];
  return percent === undefined ? value : Number(percent) / 100;
}

const certificateSpec = z.strictObject({
  selector: selector.default({}),
  issuer: z.enum(issuers),
  subject: z.strictObject({ commonName: text, organizations: list(text).default([]) }),
  dnsNames: list(text).default([]),
  ipAddresses: list(text).default([]),
  usages: list(z.enum(usages)).min(1).refine(isUnique, unique),
  privateKey: privateKey.optional(),
  lifetime: durationSeconds().optional(),
  renewAt: renewAt.default(2 / 3),
  files: pem.optional(),
  outputs: z.array(output).max(16).default([]),
  reload: reload.optional(),
  verify: text.optional(),
  revocationInfo: z.strictObject({ crl: z.boolean().default(false), ocsp: z.boolean().default(false) }).optional(),
  healthCheck: z
    .strictObject({
      url: text,
      clientCertificate: objectName,
      component: objectName.optional(),
    })
    .optional(),
});
export type RawCertificateSpec = z.output<typeof certificateSpec>;

const caFileShape = { selector: selector.default({}), issuer: z.enum(issuers), file, reload: reload.optional() };
const bundleSpec = z.strictObject({ ...caFileShape, verify: text.optional() });

const revocationListSpec = z.strictObject({ ...caFileShape, format: z.enum(crlFormats).default('pem') });

const keyPairSpec = z.strictObject({
  selector: selector
    .extend({ role: z.literal('control-plane', { error: 'a shared key pair goes to control-plane nodes alone' }).default('control-plane') })
    .default({ role: 'control-plane' }),
  privateKeyAlgorithm: z.enum(keyAlgorithms).optional(),
  privateKey: file,
  publicKey: file,
  reload: reload.optional(),
});

const address = z.string().transform((value, context) => {
  const canonical = canonicalAddress(value);
  if (canonical === undefined)
    context.addIssue({ code: 'custom', message: `expected an IPv4 or IPv6 address, found ${describeValue(value)}` });
  return canonical ?? z.NEVER;
});
const dnsName = z.string().transform((value, context) => {
  const fault = dnsNameFault(value);
  if (fault !== undefined) context.addIssue({ code: 'custom', message: `${fault}; found ${describeValue(value)}` });
  return value.toLowerCase();
});

const nodeSpec = z.strictObject({
  role: z.enum(roles),
  addresses: list(address).refine(isUnique, unique).default([]),
  dnsNames: list(dnsName).refine(isUnique, unique).default([]),
});

const endpoint = z.string().refine((value) => value === '' || parseHostPort(value) !== undefined, {
  error: 'expected a host name or address with an optional port, such as "api.example.com:6443"',
});
const extraSan = z
  .string()
  .refine((value) => canonicalAddress(value) !== undefined || dnsNameFault(value, { wildcard: true }) === undefined, {
    error: 'expected a DNS name or an IP address',
  });
const folder = z.string().refine((path) => isCleanPath(path) && path !== '/', {
  error: 'expected the absolute path of a folder, without "..", "." or "//", and not the root',
});

const lifetime = durationSeconds({ min: '10s', max: '87600h' });

/** Parts of a ClusterPolicy by their YAML names. */
const clusterSpec = z.strictObject({
  keyAlgorithm: z.enum(['ecdsa-p384', 'rsa-4096']).optional(),
  layout: z.enum(layouts).optional(),
  dnsDomain: dnsName.optional(),
  serviceCidr: ipRange().optional(),
  controlPlaneEndpoint: endpoint.optional(),
  nodeAddressRanges: list(ipRange()).optional(),
  allowedPaths: list(folder).min(1).optional(),
  leafLifetime: lifetime.optional(),
  identityLifetime: lifetime.optional(),
  apiServerExtraSans: z.array(extraSan).max(64).optional(),
  controlPlaneRecovery: z.enum(recoveryPolicies).optional(),
  workerRecovery: z.enum(recoveryPolicies).optional(),
  replacement: replacementSpec.optional(),
  rotation: rotationSpec.optional(),
  adopt: z.boolean().optional(),
});
export type RawClusterSpec = z.output<typeof clusterSpec>;

/** Absolute and in its shortest form, apart from an ending slash. */
export function isCleanPath(path: string): boolean {
  const parts = path.replace(/\/$/, '').split('/').slice(1);
  return path.startsWith('/') && !path.includes('\0') && parts.every((part) => part !== '' && part !== '.' && part !== '..');
}

/** What the coordinator adds when it shows an object: taken in and ignored, so that the output of `evercert get -o yaml` can be edited and applied. */
const shownOnly = z.unknown().optional();
const header = { apiVersion: z.string(), kind: z.string(), status: shownOnly };
const metadata = z.strictObject({
  name: objectName,
  cluster: objectName.optional(),
  uid: shownOnly,
  creationTimestamp: shownOnly,
  generation: shownOnly,
});

/** Certificate names share their space with the node's own identity. */
const certificateMetadata = metadata.extend({
  name: objectName.refine((name) => name !== 'identity', {
    error: 'the name "identity" is kept for the node\'s own Evercert identity; choose another',
  }),
});

/** Named as Kubernetes' objects are; what kubectl shows of one can be applied again. */
const revocationMetadata = metadata.extend({
  name: subdomain('a name'),
  namespace: objectName.optional(),
  resourceVersion: shownOnly,
  managedFields: shownOnly,
  annotations: shownOnly,
  labels: shownOnly,
});

export const documentSchemas = {
  CertificateManifest: z.strictObject({ ...header, metadata: certificateMetadata, spec: certificateSpec }),
  TrustBundleManifest: z.strictObject({ ...header, metadata, spec: bundleSpec }),
  KeyPairManifest: z.strictObject({ ...header, metadata, spec: keyPairSpec }),
  RevocationListManifest: z.strictObject({ ...header, metadata, spec: revocationListSpec }),
  Node: z.strictObject({ ...header, metadata: metadata.extend({ name: nodeName, labels: labels.default({}) }), spec: nodeSpec }),
  Cluster: z.strictObject({ ...header, metadata, spec: clusterSpec.default({}) }),
  RenewRevocation: z.strictObject({ ...header, metadata: revocationMetadata, spec: renewRevocationSpec }),
} as const;
