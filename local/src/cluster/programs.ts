import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EvercertError } from '@evercert/shared/errors';

/** local/src/cluster -> the repository. */
const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));

/** The parts are run as programs, never imported. */
export const programs = {
  coordinator: join(root, 'coordinator', 'bin', 'evercert-coordinator'),
  agent: join(root, 'agent', 'bin', 'evercert-agent'),
};

export function checkPrograms(): void {
  const missing = Object.values(programs).filter((path) => !existsSync(path));
  if (missing.length > 0)
    throw new EvercertError('NotFound', `${missing.join(' and ')} missing: the local cluster runs from a checkout of the repository`);
}
