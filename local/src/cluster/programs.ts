import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EvercertError } from '@evercert/shared/errors';

/** local/src/cluster -> the repository. */
export const repositoryRoot = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));

/** The parts are run as programs, never imported. */
export const programs = {
  coordinator: join(repositoryRoot, 'coordinator', 'bin', 'evercert-coordinator'),
  agent: join(repositoryRoot, 'agent', 'bin', 'evercert-agent'),
};

/** The admin kubeconfigs' manifests, which a cluster holds only on request. */
export const adminKubeconfigs = join(repositoryRoot, 'coordinator', 'src', 'manifest-sets', 'kubeconfigs-admin.yaml');

export function checkPrograms(): void {
  const missing = Object.values(programs).filter((path) => !existsSync(path));
  if (missing.length > 0)
    throw new EvercertError('NotFound', `${missing.join(' and ')} missing: the local cluster runs from a checkout of the repository`);
}
