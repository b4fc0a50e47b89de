export { type CertificateFilesOptions, createCertificateFiles } from './certificate-files.ts';
export { chooseKubeconfig, type KubeconfigMaterial, type MergedKubeconfig, mergeKubeconfig } from './kubeconfig.ts';
export { assertName, underRoot } from './paths.ts';
export type { PairStrategy } from './placement.ts';
export { createPlainFiles, type PlainFilesOptions } from './plain-files.ts';
export { pairFaultPoints } from './points.ts';
export type * from './types.ts';
export { type PathWatcher, type WatchPathsOptions, watchPaths } from './watch.ts';
