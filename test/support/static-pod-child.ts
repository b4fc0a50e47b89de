/** Takes a static pod's manifest out and puts it back, and ends; tests kill it at a fault point. Argument: a folder with `root` and `state`. */
import { join } from 'node:path';
import { StaticPodFiles } from '@evercert/agent/reload';
import { createStateFolder } from '@evercert/agent/state';
import { silentLogger } from '@evercert/shared/logging';

export const manifestFolder = '/etc/kubernetes/manifests';
export const manifestPath = `${manifestFolder}/kube-apiserver.yaml`;

export function staticPodFiles(folder: string): StaticPodFiles {
  const state = createStateFolder(join(folder, 'state'));
  return new StaticPodFiles({ rootDir: join(folder, 'root'), manifestFolder, folder: state, logger: silentLogger });
}

if (import.meta.main) {
  const files = staticPodFiles(process.argv[2] ?? '');
  await files.takeOut(manifestPath);
  await files.putBack(manifestPath);
}
