import type { Manifest } from '@evercert/proto';
import { formatFileMode } from '@evercert/shared/config';
import { apiVersion } from '@evercert/shared/manifest';
import { parse } from 'yaml';
import type { Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { list, orNone } from '../output/table.ts';
import { age, timeWithAge } from '../output/time.ts';
import { declaredFiles } from './manifest-files.ts';
import type { DescribeContext, Resource } from './types.ts';

/** The kinds that DeleteManifest knows. */
export const manifestKinds = ['CertificateManifest', 'TrustBundleManifest', 'KeyPairManifest', 'RevocationListManifest'] as const;

async function describe(manifest: Manifest, { nowMs }: DescribeContext): Promise<Description> {
  return [
    ['Name', manifest.name],
    ['Kind', manifest.kind],
    ['Cluster', manifest.cluster],
    ['Generation', String(manifest.generation)],
    ['Updated', timeWithAge(manifest.updatedAt, nowMs)],
    ['Issuer', manifest.issuer],
    ['Nodes', manifest.nodes],
    [
      'Files',
      {
        headers: ['PATH', 'MODE', 'CONTENT'],
        rows: declaredFiles(manifest).map(({ file, content }) => [file.path, formatFileMode(file.mode), content]),
      },
    ],
    ['Manifest', { text: manifest.yaml }],
  ];
}

/** All manifests, or those of one kind. */
function resource(kind: string, singular: string, plural: string, shortNames: readonly string[]): Resource<Manifest> {
  const isOurs = (manifest: Manifest): boolean => kind === 'Manifest' || manifest.kind === kind;
  return {
    kind,
    singular,
    plural,
    shortNames,
    columns: [
      { header: 'CLUSTER', show: 'clusters', value: (manifest) => manifest.cluster },
      { header: 'KIND', value: (manifest) => manifest.kind },
      { header: 'NAME', value: (manifest) => manifest.name },
      { header: 'ISSUER', value: (manifest) => orNone(manifest.issuer) },
      { header: 'NODES', value: (manifest) => String(manifest.nodes.length) },
      { header: 'GENERATION', value: (manifest) => String(manifest.generation) },
      { header: 'AGE', value: (manifest, nowMs) => age(manifest.updatedAt, nowMs) },
      { header: 'NODE-NAMES', show: 'wide', value: (manifest) => list(manifest.nodes, 5) },
    ],
    name: (manifest) => manifest.name,
    cluster: (manifest) => manifest.cluster,
    nodes: (manifest) => manifest.nodes,
    selects: isOurs,
    compare: (a, b) => a.cluster.localeCompare(b.cluster) || a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name),
    list: async (api, { cluster, names }) => {
      const name = names.length === 1 ? names[0]! : '';
      return (await api.call('listManifests', { cluster, kind: kind === 'Manifest' ? '' : kind, name })).manifests;
    },
    watch: { resource: 'manifests', take: ({ object }) => (object?.$case === 'manifest' ? object.value : undefined) },
    object: (manifest) => {
      const document = parse(manifest.yaml) as { metadata?: Record<string, unknown>; spec?: Record<string, unknown> };
      return {
        apiVersion,
        kind: manifest.kind,
        metadata: { ...document.metadata, name: manifest.name, cluster: manifest.cluster, generation: manifest.generation },
        spec: document.spec ?? {},
        status: compact({ nodes: manifest.nodes, updatedAt: manifest.updatedAt }),
      };
    },
    describe,
  };
}

export const manifests = resource('Manifest', 'manifest', 'manifests', ['mf']);
export const certificateManifests = resource('CertificateManifest', 'certificatemanifest', 'certificatemanifests', ['cm']);
export const trustBundleManifests = resource('TrustBundleManifest', 'trustbundlemanifest', 'trustbundlemanifests', ['tbm']);
export const revocationListManifests = resource('RevocationListManifest', 'revocationlistmanifest', 'revocationlistmanifests', ['rlm']);
export const keyPairManifests = resource('KeyPairManifest', 'keypairmanifest', 'keypairmanifests', ['kpm']);
