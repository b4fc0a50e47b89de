import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { repositoryRoot } from '../cluster/programs.ts';
import { findExecutable, isExecutable } from '../executables.ts';

/** One line for a person who asked for API servers on a machine that has none. */
export const kubeApiServerMissing =
  'no kube-apiserver in $KUBE_BIN_DIR, in ../shared/kube beside the repository or in PATH: name one by --kube-apiserver PATH';

/** Path of kube-apiserver: as `findKubernetesBinary` finds it, else the first in PATH. Undefined when there is none. */
export function findKubeApiServer(env: NodeJS.ProcessEnv = process.env): string | undefined {
  return findKubernetesBinary('kube-apiserver', env) ?? findExecutable('kube-apiserver', env['PATH']);
}

/**
 * Path of a Kubernetes binary (`kubeadm`, `kube-apiserver`, …) from $KUBE_BIN_DIR, else from `../shared/kube` beside the repository; plain or as NAME.xz, which is unpacked
 * once into a cache folder in the system's temporary folder. Undefined when neither place has it. Unavailable, DataLoss: the packed one cannot be used.
 */
export function findKubernetesBinary(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const folders = [env['KUBE_BIN_DIR'], join(dirname(repositoryRoot), 'shared', 'kube')].filter((folder) => folder !== undefined);
  for (const folder of folders) {
    const plain = join(folder, name);
    if (isExecutable(plain)) return plain;
    const packed = statSync(`${plain}.xz`, { throwIfNoEntry: false });
    if (packed?.isFile()) return unpack(`${plain}.xz`, name, `${packed.size}-${Math.trunc(packed.mtimeMs)}`);
  }
  return undefined;
}

function unpack(packed: string, name: string, version: string): string {
  const folder = join(tmpdir(), `evercert-kube-${userInfo().uid}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const unpacked = join(folder, `${name}-${version}`);
  if (isExecutable(unpacked)) return unpacked;
  checkSum(packed);
  // A name of its own for each process: several may unpack at once, and the rename is atomic.
  const temporary = `${unpacked}.${process.pid}`;
  const output = openSync(temporary, 'w', 0o755);
  try {
    const result = spawnSync('xz', ['-dkc', packed], { stdio: ['ignore', output, 'inherit'] });
    if (result.error)
      throw new EvercertError('Unavailable', `cannot run xz, which ${packed} needs: install xz-utils`, { cause: result.error });
    if (result.status !== 0) throw new EvercertError('DataLoss', `xz could not unpack ${packed} (exit code ${result.status})`);
    renameSync(temporary, unpacked);
  } finally {
    closeSync(output);
    rmSync(temporary, { force: true });
  }
  return unpacked;
}

/** Against the SHA256SUMS beside it, where there is one. */
function checkSum(path: string): void {
  const sums = join(dirname(path), 'SHA256SUMS');
  if (!existsSync(sums)) return;
  const lines = readFileSync(sums, 'utf8').split('\n');
  const expected = lines.map((line) => line.split(/\s+\*?/)).find(([, name]) => name === basename(path))?.[0];
  const actual = createHash('sha256').update(readFileSync(path)).digest('hex');
  if (actual === expected) return;
  throw new EvercertError('DataLoss', `${path} has the SHA-256 sum ${actual}; expected ${expected ?? 'a line for it'} in ${sums}`);
}
