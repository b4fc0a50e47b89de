/** The manifests that ship with the product. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { deepFreeze } from '@evercert/shared/config';
import { isManifest, type LayoutName, loadDocuments, type Manifest } from '@evercert/shared/manifest';

export { type ComponentRunner, componentRunners, withComponents } from './components.ts';

const files: Record<LayoutName | 'kubeconfigs-admin', URL> = {
  founding: new URL('./founding.yaml', import.meta.url),
  kubeadm: new URL('./kubeadm.yaml', import.meta.url),
  'kubeconfigs-admin': new URL('./kubeconfigs-admin.yaml', import.meta.url),
};

const cache = new Map<string, Manifest[]>();

/** The manifests that a new cluster starts with, in the given layout. Read once; frozen. */
export function manifestSet(layout: LayoutName): Manifest[] {
  return load(layout);
}

/** The admin kubeconfigs, which a cluster holds only on request. Read once; frozen. */
export function adminKubeconfigs(): Manifest[] {
  return load('kubeconfigs-admin');
}

function load(name: keyof typeof files): Manifest[] {
  const cached = cache.get(name);
  if (cached !== undefined) return cached;
  const text = readFileSync(fileURLToPath(files[name]), 'utf8');
  const documents = loadDocuments([{ file: `${name}.yaml`, text }]).map(({ document }) => document);
  const manifests = deepFreeze(documents.filter(isManifest));
  cache.set(name, manifests);
  return manifests;
}
