import type { AuthorityGeneration, AuthorityRecord } from '@evercert/coordinator/ca';

/** A CA's generation without real bytes; those that stand under a root name it. */
export function generation(name: string, changes: Partial<AuthorityGeneration> = {}): AuthorityGeneration {
  return {
    keyId: `demo/cluster-ca/${name}`,
    keyAlgorithm: 'ecdsa-p384',
    serial: name,
    certificate: `certificate-${name}`,
    notBeforeMs: 0,
    notAfterMs: 1e12,
    ...changes,
  };
}

export function authority(changes: Partial<AuthorityRecord> = {}): AuthorityRecord {
  return { cluster: 'demo', name: 'cluster-ca', ...generation('a1'), bundle: ['certificate-a1'], bundleVersion: 1, ...changes };
}
