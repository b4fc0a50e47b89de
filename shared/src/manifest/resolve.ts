import { EvercertError, type Fault } from '../errors/index.ts';
import { documentFault, title } from './faults.ts';
import { resolveCertificate, resolveVerify } from './resolve-certificate.ts';
import { resolveReload } from './resolve-reload.ts';
import { type DeclaredFile, type Finding, Scope } from './scope.ts';
import { selects } from './selector.ts';
import type { TemplateContext } from './template.ts';
import {
  type ClusterFacts,
  issuers,
  type KeyPairManifest,
  type Manifest,
  type NodeFacts,
  type ResolvedBundle,
  type ResolvedKeyPair,
  type ResolvedNode,
  type ResolvedRevocationList,
  type RevocationListManifest,
  type TrustBundleManifest,
} from './types.ts';

/**
 * All that a node is to hold: what the manifests that select it come to there, each list in order of names. Pure, and the same for the same facts.
 * Throws InvalidManifest with every fault (manifest, field, node): a template that does not resolve, a name that is not valid, a path that is not allowed,
 * two manifests for one file.
 */
export function resolveNode(cluster: ClusterFacts, node: NodeFacts, manifests: readonly Manifest[]): ResolvedNode {
  const { resolved, findings } = examineNode({ cluster, node }, manifests);
  if (findings.length > 0) {
    const faults = findings.map(({ manifest, finding }) => documentFault(manifest, finding, node.name));
    const message = `the manifests of cluster "${cluster.name}" do not resolve for node "${node.name}": ${faultCount(faults)}`;
    throw new EvercertError('InvalidManifest', message, {
      faults: faults.slice(0, 100),
      metadata: { cluster: cluster.name, node: node.name },
    });
  }
  return resolved;
}

function faultCount(faults: Fault[]): string {
  return faults.length === 1 ? `${faults[0]!.field}: ${faults[0]!.message}` : `${faults.length} faults`;
}

export interface NodeExamination {
  resolved: ResolvedNode;
  findings: { manifest: Manifest; finding: Finding }[];
}

/** Resolves the manifests that select the node and tells everything that is wrong with them there. */
export function examineNode(context: TemplateContext, manifests: readonly Manifest[]): NodeExamination {
  const resolved: ResolvedNode = { certificates: [], bundles: [], keyPairs: [], revocationLists: [] };
  const findings: NodeExamination['findings'] = [];
  const claims: Claim[] = [];
  for (const manifest of manifests) {
    if (!selects(manifest.spec.selector, context.node)) continue;
    const scope = examineManifest(context, manifest, resolved);
    findings.push(...scope.findings.map((finding) => ({ manifest, finding })));
    claims.push(...scope.files.map((file) => ({ manifest, ...file })));
  }
  findings.push(...findConflicts(claims));
  for (const list of Object.values(resolved))
    list.sort((a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return { resolved, findings };
}

/** Resolves one manifest, whether it selects the node or not, and adds it to what the node holds. */
export function examineManifest(context: TemplateContext, manifest: Manifest, into: ResolvedNode): Scope {
  const scope = new Scope(context);
  if (manifest.kind === 'CertificateManifest') into.certificates.push(resolveCertificate(scope, manifest));
  else if (manifest.kind === 'TrustBundleManifest') into.bundles.push(resolveBundle(scope, manifest));
  else if (manifest.kind === 'RevocationListManifest') into.revocationLists.push(resolveRevocationList(scope, manifest));
  else into.keyPairs.push(resolveKeyPair(scope, manifest));
  return scope;
}

function resolveBundle(scope: Scope, manifest: TrustBundleManifest): ResolvedBundle {
  const { verify } = manifest.spec;
  return { ...resolveCaFile(scope, manifest), ...(verify !== undefined && { verify: resolveVerify(scope, verify) }) };
}

function resolveCaFile(scope: Scope, { metadata, spec }: TrustBundleManifest | RevocationListManifest): Omit<ResolvedBundle, 'verify'> {
  if (!issuers.includes(spec.issuer))
    scope.refuse(['spec', 'issuer'], `unknown issuer "${spec.issuer}"; expected one of ${issuers.join(', ')}`);
  return {
    name: metadata.name,
    issuer: spec.issuer,
    file: scope.file(['spec', 'file'], spec.file, { secret: false }),
    ...(spec.reload === undefined ? {} : { reload: resolveReload(scope, spec.reload) }),
  };
}

function resolveRevocationList(scope: Scope, manifest: RevocationListManifest): ResolvedRevocationList {
  return { ...resolveCaFile(scope, manifest), format: manifest.spec.format };
}

function resolveKeyPair(scope: Scope, { metadata, spec }: KeyPairManifest): ResolvedKeyPair {
  // Invariant 1: the shared key pair goes to control-plane nodes alone.
  if (spec.selector.role !== 'control-plane')
    scope.refuse(['spec', 'selector', 'role'], 'expected "control-plane": a shared key pair goes to no other node');
  return {
    name: metadata.name,
    keyAlgorithm: spec.keyAlgorithm ?? scope.context.cluster.policy.keyAlgorithm,
    privateKey: scope.file(['spec', 'privateKey'], spec.privateKey, { secret: true }),
    publicKey: scope.file(['spec', 'publicKey'], spec.publicKey, { secret: false }),
    ...(spec.reload === undefined ? {} : { reload: resolveReload(scope, spec.reload) }),
  };
}

interface Claim extends DeclaredFile {
  manifest: Manifest;
}

/** Files that are declared twice on one node, or that lie inside what another declaration says is a file. */
function findConflicts(claims: readonly Claim[]): NodeExamination['findings'] {
  const byPath = new Map<string, Claim>();
  const findings: NodeExamination['findings'] = [];
  for (const claim of claims) {
    const other = byPath.get(claim.path);
    if (other === undefined) byPath.set(claim.path, claim);
    else findings.push(conflict(claim, `the file "${claim.path}" is declared twice; ${title(other.manifest)} declares it too`));
  }
  for (const claim of byPath.values()) {
    const parent = foldersOf(claim.path).find((folder) => byPath.has(folder));
    if (parent === undefined) continue;
    findings.push(
      conflict(claim, `"${claim.path}" lies inside "${parent}", which ${title(byPath.get(parent)!.manifest)} declares as a file`),
    );
  }
  return findings;
}

function conflict(claim: Claim, message: string): { manifest: Manifest; finding: Finding } {
  return { manifest: claim.manifest, finding: { path: claim.field, message } };
}

function foldersOf(path: string): string[] {
  const parts = path.split('/').slice(1, -1);
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('/')}`);
}
