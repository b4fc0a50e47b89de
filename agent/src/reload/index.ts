export { type OneAtATimeOptions, oneAtATime } from './one-at-a-time.ts';
export { type ProcessResult, runProcess } from './process.ts';
export { createReloader } from './reloader.ts';
export { shareReloads } from './shared.ts';
export { StaticPods, type StaticPodsOptions } from './static-pod.ts';
export { StaticPodFiles, type StaticPodFilesOptions, staticPodFaultPoints } from './static-pod-files.ts';
export { type ComponentWatch, componentOf, type Reloader, type ReloadRequest } from './types.ts';
