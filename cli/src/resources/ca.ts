import type { CertificateAuthority, CertificateAuthorityGeneration } from '@evercert/proto';
import { apiVersion } from '@evercert/shared/manifest';
import type { Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { list, orNone } from '../output/table.ts';
import { age, expiry, timeWithAge, timeWithExpiry } from '../output/time.ts';
import type { DescribeContext, Resource } from './types.ts';

/** What is to be done about it, in a word. */
function statusOf({ rotation, ending }: CertificateAuthority): string {
  return rotation === '' ? ending || 'Ready' : 'Rotating';
}

function generationRow(
  { state, serial, keyAlgorithm, notAfter, liveCertificates, compromised, keyDestroyed }: CertificateAuthorityGeneration,
  nowMs: number,
): string[] {
  const key = keyDestroyed ? 'destroyed' : 'kept';
  return [compromised ? `${state}, compromised` : state, serial, keyAlgorithm, expiry(notAfter, nowMs), String(liveCertificates), key];
}

async function describe(ca: CertificateAuthority, { nowMs }: DescribeContext): Promise<Description> {
  return [
    ['Name', ca.name],
    ['Cluster', ca.cluster],
    ['Serial', ca.serial],
    ['Key', ca.keyAlgorithm],
    ['Not Before', timeWithAge(ca.notBefore, nowMs)],
    ['Not After', timeWithExpiry(ca.notAfter, nowMs)],
    ['Signing', ca.watchOnly ? 'no: its key is elsewhere, its certificates are only watched' : 'yes'],
    ['Key Provider', orNone(ca.keyProvider)],
    ['Status', statusOf(ca)],
    ['Rotation', orNone(ca.rotation)],
    ['Public Key Pin', ca.publicKeyPin],
    ['Bundle Version', String(ca.bundleVersion)],
    [
      'Generations',
      {
        headers: ['STATE', 'SERIAL', 'KEY-ALGORITHM', 'EXPIRES', 'LIVE', 'KEY'],
        rows: ca.generations.map((generation) => generationRow(generation, nowMs)),
      },
    ],
    ['Certificate', { text: ca.certificatePem }],
    ...(ca.chainPem === '' ? [] : [['Chain', { text: ca.chainPem }] as const]),
  ];
}

export const cas: Resource<CertificateAuthority> = {
  kind: 'CertificateAuthority',
  singular: 'ca',
  plural: 'cas',
  shortNames: ['certificateauthority', 'certificateauthorities'],
  columns: [
    // The control CA belongs to no cluster and is always listed.
    { header: 'CLUSTER', value: (ca) => orNone(ca.cluster) },
    { header: 'NAME', value: (ca) => ca.name },
    { header: 'KEY-ALGORITHM', value: (ca) => ca.keyAlgorithm },
    { header: 'KEY', value: (ca) => (ca.watchOnly ? 'elsewhere' : 'here') },
    { header: 'BUNDLE', value: (ca) => String(ca.bundleVersion) },
    { header: 'GENERATIONS', value: (ca) => list(ca.generations.map(({ state }) => state)) },
    { header: 'STATUS', value: statusOf },
    { header: 'AGE', value: (ca, nowMs) => age(ca.notBefore, nowMs) },
    { header: 'EXPIRES', value: (ca, nowMs) => expiry(ca.notAfter, nowMs) },
    { header: 'SERIAL', show: 'wide', value: (ca) => ca.serial },
    { header: 'PIN', show: 'wide', value: (ca) => ca.publicKeyPin },
  ],
  name: (ca) => ca.name,
  cluster: (ca) => ca.cluster,
  list: async (api, { cluster }) => (await api.call('listCertificateAuthorities', { cluster })).certificateAuthorities,
  object: (ca) => ({
    apiVersion,
    kind: 'CertificateAuthority',
    metadata: { name: ca.name, ...compact({ cluster: ca.cluster }) },
    spec: compact({ keyAlgorithm: ca.keyAlgorithm }),
    status: compact({
      serial: ca.serial,
      notBefore: ca.notBefore,
      notAfter: ca.notAfter,
      publicKeyPin: ca.publicKeyPin,
      bundleVersion: ca.bundleVersion,
      ...(ca.watchOnly && { watchOnly: true }),
      keyProvider: ca.keyProvider,
      rotation: ca.rotation,
      ending: ca.ending,
      generations: ca.generations.map(({ certificatePem, ...generation }) => ({
        ...compact(generation),
        liveCertificates: generation.liveCertificates,
        certificate: certificatePem,
      })),
      chain: ca.chainPem,
      certificate: ca.certificatePem,
    }),
  }),
  describe,
};
