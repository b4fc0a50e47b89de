import { createHash } from 'node:crypto';
import { canonicalAddress, dnsNameFault, type Path, parseHostPort } from '../config/index.ts';
import { manifestLimits as limits } from './limits.ts';
import { resolveReload } from './resolve-reload.ts';
import { type Scope, shown } from './scope.ts';
import { statusUrls } from './status-urls.ts';
import {
  type CertificateManifest,
  type HealthCheckSpec,
  issuers,
  type OutputSpec,
  type ResolvedCertificate,
  type RevocationUrls,
} from './types.ts';

type Spec = CertificateManifest['spec'];

/** What the manifest comes to on the scope's node. Whatever is wrong is left in the scope; the result counts only if nothing is. */
export function resolveCertificate(scope: Scope, { metadata, spec }: CertificateManifest): ResolvedCertificate {
  const { policy } = scope.context.cluster;
  checkFixed(scope, spec);
  const content = {
    issuer: spec.issuer,
    commonName: shortName(scope, ['spec', 'subject', 'commonName'], scope.text(['spec', 'subject', 'commonName'], spec.subject.commonName)),
    organizations: scope.list(['spec', 'subject', 'organizations'], spec.subject.organizations, (value) => ({ value })),
    dnsNames: scope.list(['spec', 'dnsNames'], spec.dnsNames, checkDnsName),
    ipAddresses: scope.list(['spec', 'ipAddresses'], spec.ipAddresses, checkAddress),
    usages: [...spec.usages],
    keyAlgorithm: spec.keyAlgorithm ?? policy.keyAlgorithm,
    lifetimeSeconds: spec.lifetimeSeconds ?? policy.leafLifetimeSeconds,
    ...(spec.revocationInfo === undefined ? {} : { revocationUrls: resolveRevocationInfo(scope, spec.issuer, spec.revocationInfo) }),
  };
  for (const [index, name] of content.organizations.entries()) shortName(scope, ['spec', 'subject', 'organizations', index], name);
  const names = content.dnsNames.length + content.ipAddresses.length;
  if (names > limits.names)
    scope.refuse(['spec', 'dnsNames'], `expected at most ${limits.names} DNS names and addresses in all, found ${names}`);
  const outputs = spec.outputs.map((output, index) => resolveOutput(scope, output, outputPath(spec.outputs, index)));
  if (!outputs.some(holdsKey)) {
    scope.refuse(['spec'], 'no output holds the private key; expected files, or an output pem, combined, pkcs12 or an embedded kubeconfig');
  }
  return {
    name: metadata.name,
    ...content,
    renewAt: spec.renewAt,
    outputs,
    ...(spec.reload === undefined ? {} : { reload: resolveReload(scope, spec.reload) }),
    ...(spec.verify === undefined ? {} : { verify: resolveVerify(scope, spec.verify) }),
    ...(spec.healthCheck === undefined ? {} : { healthCheck: resolveHealthCheck(scope, metadata.name, spec.healthCheck) }),
    specHash: specHash(content),
  };
}

/** What does not depend on a node. */
function checkFixed(scope: Scope, spec: Spec): void {
  if (!issuers.includes(spec.issuer))
    scope.refuse(['spec', 'issuer'], `unknown issuer "${spec.issuer}"; expected one of ${issuers.join(', ')}`);
  const { lifetimeSeconds } = spec;
  if (lifetimeSeconds !== undefined && (lifetimeSeconds < limits.minLifetimeSeconds || lifetimeSeconds > limits.maxLifetimeSeconds)) {
    const most = `${limits.maxLifetimeSeconds / 3600}h`;
    scope.refuse(
      ['spec', 'lifetime'],
      `expected from ${limits.minLifetimeSeconds}s to ${most} (the issuer's ten years), found ${lifetimeSeconds}s`,
    );
  }
  if (!(spec.renewAt >= limits.minRenewAt && spec.renewAt <= limits.maxRenewAt)) {
    scope.refuse(
      ['spec', 'renewAt'],
      `expected a part of the life from ${limits.minRenewAt} to ${limits.maxRenewAt}, found ${spec.renewAt}`,
    );
  }
  // Without an extended usage most verifiers take a certificate for anything; key encipherment alone leaves an EC key with no usage at all.
  if (!spec.usages.includes('digital signature'))
    scope.refuse(['spec', 'usages'], 'expected "digital signature" among the usages: TLS needs it');
  if (!spec.usages.some((usage) => usage === 'server auth' || usage === 'client auth')) {
    scope.refuse(['spec', 'usages'], 'expected "server auth", "client auth" or both among the usages');
  }
}

function shortName(scope: Scope, path: Path, name: string): string {
  if (name.length > limits.nameLength)
    scope.refuse(path, `expected at most ${limits.nameLength} characters (RFC 5280), found ${name.length}: "${name}"`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  else if (name === '' || /[\u0000-\u001f\u007f]/.test(name)) scope.refuse(path, 'expected text without control characters, not empty');
  return name;
}

function checkDnsName(item: string): { value: string } | { fault: string } {
  const fault = dnsNameFault(item, { wildcard: true });
  return fault === undefined ? { value: item.toLowerCase() } : { fault };
}

function checkAddress(item: string): { value: string } | { fault: string } {
  const value = canonicalAddress(item);
  return value === undefined ? { fault: 'expected an IPv4 or IPv6 address' } : { value };
}

/** Where the YAML form has an output: a pem pair in front stands under `files`, all others under `outputs`. */
function outputPath(outputs: readonly OutputSpec[], index: number): Path {
  const first = outputs[0]?.type === 'pem' ? 1 : 0;
  return index < first ? ['spec', 'files'] : ['spec', 'outputs', index - first, outputs[index]!.type];
}

function resolveOutput(scope: Scope, output: OutputSpec, path: Path): OutputSpec {
  switch (output.type) {
    case 'pem':
      return {
        type: 'pem',
        certificate: scope.file([...path, 'certificate'], output.certificate, { secret: false }),
        privateKey: scope.file([...path, 'privateKey'], output.privateKey, { secret: true }),
      };
    case 'chain':
      return { type: 'chain', file: scope.file(path, output.file, { secret: false }) };
    case 'combined':
      return resolveCombined(scope, output, path);
    case 'pkcs12':
      return {
        type: 'pkcs12',
        file: scope.file(path, output.file, { secret: true }),
        passwordPath: scope.reference([...path, 'passwordFile'], output.passwordPath),
      };
    case 'kubeconfig':
      return resolveKubeconfig(scope, output, path);
  }
}

function resolveCombined(scope: Scope, output: Extract<OutputSpec, { type: 'combined' }>, path: Path): OutputSpec {
  const file = scope.file(path, output.file, { secret: true });
  if (output.dated && !file.path.endsWith('-current.pem')) {
    scope.refuse([...path, 'path'], `a dated file's path must end in "-current.pem", as kubelet's do; found "${file.path}"`);
  }
  return { type: 'combined', file, dated: output.dated };
}

function resolveKubeconfig(scope: Scope, output: Extract<OutputSpec, { type: 'kubeconfig' }>, path: Path): OutputSpec {
  const before = scope.findings.length;
  const server = scope.text([...path, 'server'], output.server, { url: true });
  if (scope.findings.length === before && !isServerUrl(server)) {
    scope.refuse([...path, 'server'], `expected https://HOST:PORT, found ${shown(output.server, server)}`);
  }
  const reference = (key: string, template: string): string => scope.reference([...path, key], template);
  return {
    type: 'kubeconfig',
    file: scope.file(path, output.file, { secret: true }),
    clusterName: scope.text([...path, 'clusterName'], output.clusterName),
    server,
    user: scope.text([...path, 'user'], output.user),
    ...(output.certificatePath === undefined ? {} : { certificatePath: reference('certificate', output.certificatePath) }),
    ...(output.privateKeyPath === undefined ? {} : { privateKeyPath: reference('privateKey', output.privateKeyPath) }),
    ...(output.certificateAuthorityPath === undefined
      ? {}
      : { certificateAuthorityPath: reference('certificateAuthority', output.certificateAuthorityPath) }),
  };
}

function isServerUrl(text: string): boolean {
  const [, hostPort] = /^https:\/\/([^/\s]+)(?:\/[^\s]*)?$/.exec(text) ?? [];
  return hostPort !== undefined && parseHostPort(hostPort) !== undefined;
}

function holdsKey(output: OutputSpec): boolean {
  if (output.type === 'kubeconfig') return output.privateKeyPath === undefined;
  return output.type !== 'chain';
}

/** Where a component is looked at, with its templates resolved. */
export function resolveVerify(scope: Scope, template: string): string {
  const before = scope.findings.length;
  const verify = scope.text(['spec', 'verify'], template, { url: true });
  if (scope.findings.length > before) return verify;
  const [, target] = /^tls:\/\/(.+)$/.exec(verify) ?? [];
  const port = target === undefined ? undefined : parseHostPort(target)?.port;
  if (port === undefined || port === 0) scope.refuse(['spec', 'verify'], `expected tls://HOST:PORT, found ${shown(template, verify)}`);
  return verify;
}

function resolveHealthCheck(
  scope: Scope,
  manifest: string,
  { url: template, clientCertificate, component }: HealthCheckSpec,
): Required<HealthCheckSpec> {
  const path = ['spec', 'healthCheck', 'url'];
  const before = scope.findings.length;
  const url = scope.text(path, template, { url: true });
  if (scope.findings.length === before && !isServerUrl(url))
    scope.refuse(path, `expected https://HOST:PORT/PATH, found ${shown(template, url)}`);
  return { url, clientCertificate, component: component ?? manifest.replace(/(.)-server$/, '$1') };
}

function resolveRevocationInfo(scope: Scope, issuer: string, { crl, ocsp }: NonNullable<Spec['revocationInfo']>): RevocationUrls {
  const { name, webUrl } = scope.context.cluster;
  if (webUrl === undefined) {
    scope.refuse(['spec', 'revocationInfo'], 'this coordinator serves no CRL and OCSP: set web.enabled or web.url in its configuration');
    return {};
  }
  const urls = statusUrls(webUrl, name, issuer);
  return { ...(crl && { crlUrls: [urls.crl] }), ...(ocsp && { ocspUrls: [urls.ocsp], caIssuerUrls: [urls.certificate] }) };
}

type Content = Pick<
  ResolvedCertificate,
  'issuer' | 'commonName' | 'organizations' | 'dnsNames' | 'ipAddresses' | 'usages' | 'keyAlgorithm' | 'lifetimeSeconds' | 'revocationUrls'
>;

/** SHA-256, in hexadecimal, over JSON with keys in a fixed order and sets sorted: another order of the same names is no reason for a new certificate. */
function specHash(content: Content): string {
  const canonical = JSON.stringify([
    ['issuer', content.issuer],
    ['commonName', content.commonName],
    ['organizations', content.organizations.toSorted()],
    ['dnsNames', content.dnsNames.toSorted()],
    ['ipAddresses', content.ipAddresses.toSorted()],
    ['usages', content.usages.toSorted()],
    ['keyAlgorithm', content.keyAlgorithm],
    ['lifetimeSeconds', content.lifetimeSeconds],
    // Only where there are any: a certificate without them keeps the hash that it had before they were known.
    ...(content.revocationUrls === undefined ? [] : [['revocationUrls', content.revocationUrls]]),
  ]);
  return createHash('sha256').update(canonical).digest('hex');
}
