/** The folder of a machine: copied from the image, made its own, and deleted without leaving its bounds. */
import { lstat, mkdir, readdir, readFile, rename, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { createFileDurable, errnoOf, removeIfThere, syncDirectory, temporaryPath, toFileError } from '@evercert/shared/files';
import { inRanges } from '../../nodes/names.ts';
import type { MachineNetwork } from './config.ts';
import { hostName, type MachinePlace } from './names.ts';
import { runProgramOk } from './program.ts';

const copyMs = 30 * 60_000;
const deleteMs = 10 * 60_000;
const unmountMs = 20_000;

const wants = 'etc/systemd/system/multi-user.target.wants';
const agentUnit = `${wants}/evercert-agent.service`;
const networkd = 'usr/lib/systemd/systemd-networkd';

/** Why machines cannot be made from the image, and what to do; undefined: they can. */
export async function imageFault(image: string, network: MachineNetwork): Promise<string | undefined> {
  const make = `make it by deploy/nspawn/make-image.sh ${image}`;
  if (!(await isThere(join(image, 'usr')))) return `there is no image ${image}: ${make}`;
  if (!(await isThere(join(image, agentUnit)))) return `the image ${image} does not start evercert-agent.service: ${make}`;
  if (network !== 'host' && !(await isThere(join(image, networkd))))
    return `the image ${image} has no systemd-networkd, which bridged machines need: ${make}`;
  return undefined;
}

/**
 * The image's copy, with a host name, a machine id and a network of its own, at `root`. Errors: FailedPrecondition (the image is none, the node has no
 * address in the subnets), DiskFull, Unavailable, Cancelled.
 */
export async function stageRoot(
  { image, network }: { image: string; network: MachineNetwork },
  root: string,
  node: { name: string; addresses: readonly string[] },
  signal: AbortSignal,
): Promise<void> {
  const fault = await imageFault(image, network);
  if (fault !== undefined) throw new EvercertError('FailedPrecondition', fault);
  const networkFile = network === 'host' ? undefined : describeNetwork(network, node);
  await runProgramOk(['cp', '--reflink=auto', '-a', '-T', '--', image, root], { timeoutMs: copyMs, signal });
  await writeInside(root, 'etc/hostname', `${hostName(node.name)}\n`);
  // Empty: systemd makes one at the first boot, unless D-Bus has one.
  await writeInside(root, 'etc/machine-id', '', 0o444);
  await removeIfThere(await inside(root, 'var/lib/dbus/machine-id'));
  if (networkFile === undefined) return;
  await writeInside(root, 'etc/systemd/network/10-evercert.network', networkFile);
  const enabled = await inside(root, `${wants}/systemd-networkd.service`);
  await removeIfThere(enabled);
  await symlink('/lib/systemd/system/systemd-networkd.service', enabled);
}

/** systemd.network(5) */
function describeNetwork(
  network: Exclude<MachineNetwork, 'host'>,
  { name, addresses }: { name: string; addresses: readonly string[] },
): string {
  const { bridge, subnets, gateway } = network;
  const lines = ['[Match]', 'Name=host0', '', '[Network]'];
  if (subnets === undefined) return [...lines, 'DHCP=yes', ''].join('\n');
  const own = addresses.flatMap((address) => {
    const subnet = subnets.find((range) => inRanges(address, [range]));
    return subnet === undefined ? [] : [`Address=${address}/${subnet.split('/')[1]}`];
  });
  if (own.length === 0) {
    const has = addresses.length === 0 ? 'none' : addresses.join(', ');
    const message = `node ${name} has no registered address in ${subnets.join(', ')} (it has ${has}), so its machine would have none on ${bridge}`;
    throw new EvercertError(
      'FailedPrecondition',
      `${message}: register one with the node's token, or leave out the provisioner's subnets to use DHCP`,
    );
  }
  return [...lines, ...own, ...(gateway === undefined ? [] : [`Gateway=${gateway}`]), ''].join('\n');
}

/** Replaces a file of a root that does not run; a link in its place is replaced, not followed. */
async function writeInside(root: string, path: string, text: string, mode = 0o644): Promise<void> {
  const file = await inside(root, path);
  await removeIfThere(file);
  await createFileDurable(file, text, { mode });
}

/** The path with its folders made; FailedPrecondition when one of them is a link: it could lead out of the root. */
async function inside(root: string, path: string): Promise<string> {
  let folder = root;
  for (const part of dirname(path).split('/')) {
    folder = join(folder, part);
    await mkdir(folder, { mode: 0o755 }).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw toFileError(error, 'make', folder);
    });
    if (!(await lstat(folder)).isDirectory()) {
      throw new EvercertError(
        'FailedPrecondition',
        `/${path} cannot be written in the image's copy: ${folder.slice(root.length)} is no folder but a link or a file`,
      );
    }
  }
  return join(root, path);
}

/** Deletes a machine that does not run: out of its place by one rename, then the content. What a mount has brought into it is unmounted and stays as it is. */
export async function deleteMachine(place: MachinePlace, signal: AbortSignal): Promise<void> {
  try {
    await rename(place.folder, temporaryPath(place.folder));
    await syncDirectory(dirname(place.folder));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw toFileError(error, 'move', place.folder);
  }
  await sweepUnfinished(place, signal);
}

/** Deletes what earlier actions on the machine did not come to finish: folders with the names of `temporaryPath`. */
export async function sweepUnfinished({ folder, name }: MachinePlace, signal: AbortSignal): Promise<void> {
  const machinesDir = dirname(folder);
  const start = `.${name}.`;
  // The rest of the name of another machine, `a.b.c` to this one's `a.b`, would have a dot.
  const ofThisMachine = (entry: string): boolean => entry.startsWith(start) && /^[0-9a-z-]+\.evercert-tmp$/.test(entry.slice(start.length));
  for (const entry of (await readdir(machinesDir)).filter(ofThisMachine)) await deleteTree(join(machinesDir, entry), signal);
}

async function deleteTree(path: string, signal: AbortSignal): Promise<void> {
  for (const mount of (await mountsBelow(path)).reverse()) await runProgramOk(['umount', '--', mount], { timeoutMs: unmountMs, signal });
  // Neither follows links nor crosses into another file system.
  await runProgramOk(['rm', '-rf', '--one-file-system', '--', path], { timeoutMs: deleteMs, signal });
}

/** Mount points at and below a folder, in the order in which they were mounted (proc(5), mountinfo). */
async function mountsBelow(path: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const points = lines.map((line) =>
    (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
  );
  return points.filter((point) => point === path || point.startsWith(`${path}/`));
}

export async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw toFileError(error, 'look at', path);
  }
}
