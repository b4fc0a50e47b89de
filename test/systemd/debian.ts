/** The roots that machines boot from: debootstrap makes Debian's once, and what tests need is made from copies of it. */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { findTool, needTool, repositoryRoot, runOk } from '../support/tools.ts';

const packages = ['systemd', 'dbus', 'libatomic1'];
const suite = 'bookworm';

/** For `before`: skips where no machine can be booted. */
export function needMachines(context: Mocha.Context): void {
  for (const tool of ['debootstrap', 'systemd-nspawn', 'nsenter']) needTool(context, tool, findTool);
  if (process.getuid?.() === 0) return;
  process.stderr.write('skipped: booting a machine needs root\n');
  context.skip();
}

/** The root folder, with more packages; from the cache in the system's temporary folder. The first call takes a minute or two and needs Debian's mirror. */
export async function debianRoot(...more: string[]): Promise<string> {
  const root = join(tmpdir(), `evercert-debian-${userInfo().uid}`, [suite, ...more].join('+'));
  if (existsSync(root)) return root;
  mkdirSync(dirname(root), { recursive: true, mode: 0o700 });
  const unfinished = `${root}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  const include = `--include=${[...packages, ...more].join(',')}`;
  await runOk('debootstrap', ['--variant=minbase', include, suite, unfinished], { timeoutMs: 600_000 });
  renameSync(unfinished, root);
  return root;
}

/** An image for the provisioner `nspawn`, with the agent of this source tree. */
export async function makeImage(path: string): Promise<string> {
  await runOk(join(repositoryRoot, 'deploy/nspawn/make-image.sh'), [path, '--base', await debianRoot()], { timeoutMs: 300_000 });
  return path;
}

/** Not needed to boot. */
const ballast = [
  'usr/lib/evercert',
  ...['doc', 'info', 'locale', 'man', 'perl5', 'zoneinfo'].map((name) => `usr/share/${name}`),
  'var/lib/dpkg/info',
];

/** The same with nothing but what boots: a third of the size, for tests that make many machines. */
export async function makeBareImage(path: string): Promise<string> {
  await makeImage(path);
  for (const folder of ballast) rmSync(join(path, folder), { recursive: true, force: true });
  writeFileSync(join(path, 'lib/systemd/system/evercert-agent.service'), '[Service]\nExecStart=/bin/sleep infinity\n');
  return path;
}
