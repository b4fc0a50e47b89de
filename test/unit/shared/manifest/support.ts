import assert from 'node:assert/strict';
import { EvercertError, type Fault, formatFault } from '@evercert/shared/errors';
import {
  type AnyDocument,
  type CertificateManifest,
  type ClusterFacts,
  type ClusterPolicy,
  defaultClusterPolicy,
  loadDocuments,
  type Manifest,
  type NodeFacts,
} from '@evercert/shared/manifest';

export function clusterOf(policy: Partial<ClusterPolicy> = {}): ClusterFacts {
  return { name: 'demo', policy: { ...defaultClusterPolicy, ...policy }, webUrl: 'http://pki.example:7480' };
}

export function nodeOf(facts: Partial<NodeFacts> = {}): NodeFacts {
  return { name: 'cp-1', role: 'control-plane', labels: {}, addresses: ['10.0.0.1', 'fd00::1'], dnsNames: ['cp-1.example.com'], ...facts };
}

export function parse(text: string): AnyDocument[] {
  return loadDocuments([{ file: 'm.yaml', text }]).map(({ document }) => document);
}

/** A certificate manifest with the given lines of YAML put into its spec in place of those of the same key. */
export function certificate(spec: object = {}, name = 'web'): CertificateManifest {
  const document = {
    apiVersion: 'evercert.io/v1',
    kind: 'CertificateManifest',
    metadata: { name },
    spec: {
      issuer: 'cluster-ca',
      subject: { commonName: name },
      usages: ['digital signature', 'server auth'],
      files: { certificate: `/etc/kubernetes/pki/${name}.crt`, privateKey: `/etc/kubernetes/pki/${name}.key` },
      ...spec,
    },
  };
  return parse(JSON.stringify(document))[0] as CertificateManifest;
}

export function manifests(...documents: AnyDocument[]): Manifest[] {
  return documents as Manifest[];
}

/** The faults that a call fails with, as text; its error must have the given code. */
export function faultsOf(action: () => unknown, code = 'InvalidManifest'): string[] {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof EvercertError, String(error));
    assert.equal(error.code, code);
    return error.faults.map(formatFault);
  }
  return [];
}

export function assertFaults(actual: readonly (string | Fault)[], expected: readonly (string | RegExp)[]): void {
  const lines = actual.map((fault) => (typeof fault === 'string' ? fault : formatFault(fault)));
  assert.equal(lines.length, expected.length, lines.join('\n'));
  for (const [i, line] of expected.entries()) {
    if (typeof line === 'string') assert.equal(lines[i], line);
    else assert.match(lines[i]!, line);
  }
}
