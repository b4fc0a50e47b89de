import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { OutputSpec, ResolvedCertificate } from '@evercert/shared/manifest';
import { effectiveUsages, issueLeaf, type KeyAlgorithm, newSerial, type PreparedIssuer, parseCertificate } from '@evercert/shared/x509';
import { Authorities } from '../ca/authorities.ts';
import { chainOf } from '../ca/generations.ts';
import { resolveTolerantly } from '../desired/desired-states.ts';
import { currentCertificate } from '../issuance/current.ts';
import type { KeyProvider } from '../keys/index.ts';
import { Revocations } from '../revocation/revocations.ts';
import { Model, nodeFacts } from '../state/model.ts';
import type { CertificateRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';

export interface EmergencyOrder {
  cluster: string;
  node: string;
  /** Of certificates; empty: all that can be. */
  names: readonly string[];
  lifetimeSeconds: number;
}

export interface EmergencyCertificate {
  record: CertificateRecord;
  /** DER: itself, then the intermediates. */
  chain: Buffer[];
  /** Where the node has it, absolute. */
  paths: string[];
}

export interface EmergencySigning {
  certificates: EmergencyCertificate[];
  /** What was left out, and why. */
  skipped: { name: string; why: string }[];
}

export interface EmergencyOptions {
  /** What is known; only read. */
  store: Store;
  keys: KeyProvider;
  clock: Clock;
  logger: Logger;
  backdateMs: number;
}

/**
 * Signs certificates for the keys that a node has already: what it was last issued says which. No private key is made, moved or asked for. What they say is what the manifests declare,
 * and what is revoked is refused, as at every other issue. NotFound: no such cluster or node is known. Revoked.
 */
export async function signEmergency(order: EmergencyOrder, options: EmergencyOptions): Promise<EmergencySigning> {
  const { store, logger, clock } = options;
  const model = new Model(store, logger);
  const revocations = new Revocations({ store, logger, clock });
  await model.start();
  await revocations.start();
  try {
    return await sign(order, options, model, revocations);
  } finally {
    await revocations.stop();
    await model.stop();
  }
}

async function sign(order: EmergencyOrder, options: EmergencyOptions, model: Model, revocations: Revocations): Promise<EmergencySigning> {
  const { cluster, node } = order;
  const declared = declaredFor(order, model);
  const authorities = new Authorities(options);
  const signing: EmergencySigning = { certificates: [], skipped: [] };
  for (const profile of declared) {
    const { name } = profile;
    const paths = profile.outputs.flatMap(certificatePaths);
    const current = await currentCertificate(options.store, cluster, node, name);
    const authority = model.authority(cluster, profile.issuer);
    if (paths.length === 0) signing.skipped.push({ name, why: 'no file holds the certificate without its key' });
    else if (current === undefined) signing.skipped.push({ name, why: 'nothing is known of the key that the node has for it' });
    else if (current.keyAlgorithm === 'rsa-2048') signing.skipped.push({ name, why: 'the key that the node has for it is too weak' });
    else if (authority === undefined || authority.keyId === '')
      signing.skipped.push({ name, why: `the key of ${profile.issuer} is not here` });
    else {
      const applicant = { node, certificate: name };
      revocations.check({ cluster, current, profile, nowMs: options.clock.nowMs(), ignoreCurrent: false, applicant });
      const issuer = await authorities.issuer(authority);
      const key = { record: current, keyAlgorithm: current.keyAlgorithm };
      const record = await signOne(order, profile, key, { ...options, issuer, issuerNotAfterMs: authority.notAfterMs });
      signing.certificates.push({ record, chain: chainOf(authority, record), paths });
    }
  }
  return signing;
}

function declaredFor({ cluster, node, names }: EmergencyOrder, model: Model): ResolvedCertificate[] {
  const record = model.node(cluster, node);
  const clusterRecord = model.cluster(cluster);
  if (!record || !clusterRecord) {
    const known = model.nodes.list().map((each) => `${each.cluster}/${each.name}`);
    throw new EvercertError(
      'NotFound',
      `nothing is known here of node ${node} of cluster ${cluster}; known control-plane nodes: ${known.join(', ') || 'none'}`,
    );
  }
  const { resolved } = resolveTolerantly({ name: cluster, policy: clusterRecord.policy }, nodeFacts(record), model.manifestsOf(cluster));
  const missing = names.filter((name) => !resolved.certificates.some((certificate) => certificate.name === name));
  if (missing.length > 0) throw new EvercertError('NotFound', `no manifest declares ${missing.join(', ')} for node ${node}`);
  return names.length === 0 ? resolved.certificates : resolved.certificates.filter(({ name }) => names.includes(name));
}

interface Signing extends EmergencyOptions {
  issuer: PreparedIssuer;
  issuerNotAfterMs: number;
}

async function signOne(
  order: EmergencyOrder,
  profile: ResolvedCertificate,
  { record: current, keyAlgorithm }: { record: CertificateRecord; keyAlgorithm: KeyAlgorithm },
  { clock, backdateMs, issuer, issuerNotAfterMs }: Signing,
): Promise<CertificateRecord> {
  const { spki } = parseCertificate(Buffer.from(current.certificate, 'base64'));
  const issuedAtMs = clock.nowMs();
  const notAfterMs = Math.min(issuedAtMs + order.lifetimeSeconds * 1000, issuerNotAfterMs);
  if (notAfterMs <= issuedAtMs)
    throw new EvercertError('FailedPrecondition', `${profile.issuer} itself has expired: nothing can be signed by it`);
  const notBeforeMs = issuedAtMs - backdateMs;
  const serial = newSerial();
  const { commonName, organizations, dnsNames, ipAddresses, usages } = profile;
  const names = { commonName, organizations, dnsNames, ipAddresses, uris: [] };
  const certificate = await issueLeaf(issuer, {
    spki,
    keyAlgorithm,
    profile: { ...names, usages },
    serial,
    notBefore: new Date(notBeforeMs),
    notAfter: new Date(notAfterMs),
  });
  return {
    cluster: order.cluster,
    node: order.node,
    name: profile.name,
    issuer: profile.issuer,
    issuerSerial: issuer.serial,
    serial,
    ...names,
    usages: effectiveUsages(usages, keyAlgorithm.startsWith('rsa')),
    keyAlgorithm,
    spkiSha256: current.spkiSha256,
    specHash: profile.specHash,
    issuedAtMs,
    notBeforeMs,
    notAfterMs,
    reason: 'Emergency',
    certificate: certificate.toString('base64'),
  };
}

/** Files that a certificate can be put into without its key. */
function certificatePaths(output: OutputSpec): string[] {
  if (output.type === 'pem') return [output.certificate.path];
  return output.type === 'chain' ? [output.file.path] : [];
}
