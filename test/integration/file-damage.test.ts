import assert from 'node:assert/strict';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { LocalCluster, LocalNode } from '@evercert/local';
import type { Event } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { certificatesToPem, createRootCertificate, generateKeyPair, newSerial, privateKeyToPem, signerFor } from '@evercert/shared/x509';
import { declaredFiles, issuedCertificates, liveCluster, statusOf, temporaryFolder, until, untilReady } from '../support/live.ts';

/** Within so long everything has to be right again. */
const limitMs = 5000;
const eventMs = 10_000;
const hourMs = 3_600_000;

/** A file of a node, by its path from the node's root, and all that a reader of it can notice. */
interface Watched {
  node: LocalNode;
  path: string;
  real: string;
  content: Buffer;
  mode: number;
  /** Where the symlink at the path leads; undefined when it is a plain file. */
  link: string | undefined;
}

const moreManifests = `
apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: admin }
spec:
  selector: { role: control-plane }
  issuer: cluster-ca
  subject: { commonName: kubernetes-admin, organizations: ["kubeadm:cluster-admins"] }
  usages: [digital signature, key encipherment, client auth]
  outputs:
    - kubeconfig: { path: /etc/kubernetes/admin.conf }
`;

describe('files of running nodes, damaged', function () {
  this.timeout(120_000);
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;
  let watched: Watched[];
  let outside: string;
  let foreign: { certificate: string; key: string };
  let issuedBefore: number;
  const slowest = { ms: 0, what: 'nothing' };

  before(async () => {
    outside = temporaryFolder('outside');
    foreign = await foreignPair();
    // So rare a scan that what is put right in time was seen by the watcher.
    const live = await liveCluster({ controlPlanes: 1, workers: 1, leafLifetimeSeconds: 96 * 3600, scanIntervalSeconds: 600 });
    ({ cluster, dispose } = live);
    const admin = await cluster.admin();
    const documents = [{ source: 'admin.yaml', yaml: moreManifests }];
    await admin.call(admin.client.apply, { cluster: cluster.name, documents, dryRun: false });
    await cluster.waitUntil(({ book }) => book.totals().certificates >= 14, 60_000, 'the certificates of both nodes');
    for (const node of cluster.nodes) await untilReady(node);
    watched = cluster.nodes.flatMap((node) => declaredFiles(node).map((path) => look(node, path)));
    issuedBefore = (await issuedCertificates(cluster)).length;
  });

  after(async () => {
    await dispose();
    if (outside) rmSync(outside, { recursive: true, force: true });
    process.stdout.write(`    the slowest was right after ${slowest.ms} ms: ${slowest.what}\n`);
  });

  it('are all that the nodes hold: certificates, keys, CA bundles, kubeconfigs, key pair and combined files', () => {
    const names = (role: LocalNode['role']): string[] => watched.filter(({ node }) => node.role === role).map(({ path }) => basename(path));
    assert.equal(names('control-plane').length, 29, names('control-plane').join(' '));
    assert.deepEqual(names('worker'), ['kubelet.conf', 'ca.crt', 'kubelet-client-current.pem', 'kubelet-server-current.pem']);
  });

  const damages: [what: string, damage: (file: Watched, index: number) => void, reason?: string][] = [
    ['deleted', ({ real }) => rmSync(real)],
    ['cut off', ({ real, content }, index) => truncateSync(real, index % 2 === 0 ? 0 : Math.floor(content.length / 2))],
    ['overwritten in place', ({ real }) => writeFileSync(real, 'something else\n')],
    ['replaced by a foreign file', ({ real, path }) => replaceFile(real, /\.(key|pem)$/.test(path) ? foreign.key : foreign.certificate)],
    ['opened to everybody to read', ({ real, mode }) => chmodSync(real, mode === 0o644 ? 0o600 : 0o644), 'FileModeFixed'],
    ['opened to everybody to write', ({ real }) => chmodSync(real, 0o666), 'FileModeFixed'],
    [
      'replaced by a symlink out of the folder',
      ({ real, path }) => {
        const target = join(outside, basename(path));
        writeFileSync(target, 'not ours\n', { mode: 0o640 });
        rmSync(real);
        symlinkSync(target, real);
      },
    ],
  ];

  for (const [what, damage, reason = 'FileRestored'] of damages) {
    it(`are put right when each is ${what}`, async () => {
      for (const files of rounds(watched)) await damaged(what, files, () => files.forEach(damage), reason);
      for (const name of readdirSync(outside)) {
        const target = join(outside, name);
        assert.deepEqual([readFileSync(target, 'utf8'), statSync(target).mode & 0o777], ['not ours\n', 0o640], 'the symlink was followed');
      }
    });
  }

  it('are put right when each is swapped with another file', async () => {
    for (const files of rounds(watched)) {
      const swaps = cluster.nodes.flatMap((node) =>
        inTwos(
          files.filter((file) => file.node === node),
          watched,
        ),
      );
      await damaged('swapped', swaps.flat(), () => swaps.forEach(rotate), 'FileRestored');
    }
  });

  it('are put right when each pair is replaced by a foreign pair that fits together', async () => {
    const certificates = watched.filter(({ path }) => path.endsWith('.crt') && watched.some((other) => other.real === keyOf(path, other)));
    const pairs = certificates.flatMap((certificate) => [
      certificate,
      watched.find((other) => other.real === keyOf(certificate.path, other)) as Watched,
    ]);
    const combined = watched.filter(({ path }) => path.endsWith('.pem'));
    assert.deepEqual([pairs.length, combined.length], [18, 4]);
    const replace = (): void => {
      for (const { real, path } of pairs) replaceFile(real, path.endsWith('.key') ? foreign.key : foreign.certificate);
      for (const { real } of combined) replaceFile(real, foreign.certificate + foreign.key);
    };
    await damaged('replaced by a foreign pair', [...pairs, ...combined], replace, 'FileRestored');
  });

  it('are reported and not touched while a folder is in the place of each, and put right once it is gone', async () => {
    for (const files of rounds(watched)) {
      const startMs = systemClock.nowMs();
      for (const { real } of files) {
        folderInPlaceOf(real);
        writeFileSync(join(real, 'precious'), 'do not touch\n');
      }
      const told = (event: Event, { path }: Watched): boolean => event.errorCode === 'FileConflict' && event.message.includes(`${path};`);
      await untilEvents(startMs, files, told);
      for (const node of cluster.nodes) {
        const mine = files.filter((file) => file.node === node);
        await until(`${node.name} to tell of ${mine.map(({ path }) => path).join(', ')}`, eventMs, async () => {
          const status = await statusOf(node);
          const errors = [...(status?.certificates ?? []), ...(status?.bundles ?? []), ...(status?.keyPairs ?? [])];
          return mine.every(({ path }) => errors.some(({ lastError }) => lastError.includes(`${path};`)));
        });
      }
      for (const { real } of files)
        assert.deepEqual([readdirSync(real), readFileSync(join(real, 'precious'), 'utf8')], [['precious'], 'do not touch\n']);
      await damaged('a folder, now gone', files, () => remove(files.map(({ real }) => real)), 'FileRestored');
    }
  });

  it('are put right when whole folders of them are deleted', async () => {
    for (const folder of ['etc/kubernetes', 'etc/kubernetes/pki/etcd', 'var/lib/kubelet/pki', 'etc/kubernetes/pki/.evercert']) {
      const nodes = cluster.nodes.filter((node) => statSync(join(node.rootDir, folder), { throwIfNoEntry: false }));
      const gone = watched.filter(({ node, link, real }) => {
        const inside = join(node.rootDir, folder, '/');
        return nodes.includes(node) && (real.startsWith(inside) || (link !== undefined && resolve(dirname(real), link).startsWith(inside)));
      });
      assert.ok(gone.length > 1, folder);
      await damaged(
        `with the folder ${folder} deleted`,
        gone,
        () => remove(nodes.map((node) => join(node.rootDir, folder))),
        'FileRestored',
        // A folder goes entry by entry: an agent that is quick puts a file back while the rest still goes, and does it, and tells it, again.
        { atLeast: true },
      );
    }
  });

  it('were put right from the agent’s own copy: nothing was issued anew, and all is Ready', async () => {
    assert.equal((await issuedCertificates(cluster)).length, issuedBefore);
    await cluster.waitUntilReady(20_000);
    for (const node of cluster.nodes) {
      const status = await untilReady(node);
      assert.deepEqual(
        [...status.certificates, ...status.bundles, ...status.keyPairs].map(({ lastError }) => lastError).filter(Boolean),
        [],
      );
    }
  });

  /** Does the damage and waits until every file is as it was, measured for each, and told of. */
  async function damaged(what: string, files: Watched[], damage: () => void, reason: string, { atLeast = false } = {}): Promise<void> {
    const startMs = systemClock.nowMs();
    damage();
    const begun = systemClock.monotonicMs();
    let wrong = files;
    while (wrong.length > 0) {
      const ms = Math.round(systemClock.monotonicMs() - begun);
      const still = wrong.filter((file) => !isRight(file));
      for (const { node, path } of wrong.filter((file) => !still.includes(file))) {
        if (ms > slowest.ms) Object.assign(slowest, { ms, what: `${node.name}:${path} ${what}` });
      }
      wrong = still;
      const list = wrong.map(({ node, path }) => `${node.name}:${path}`).join(', ');
      assert.ok(wrong.length === 0 || ms <= limitMs, `not right after ${ms} ms (${what}): ${list}`);
      if (wrong.length > 0) await systemClock.sleep(10);
    }
    const events = await untilEvents(
      startMs,
      files,
      (event, { path }) => event.reason === reason && event.message.startsWith(`${path} was put right`),
    );
    const told = `one event for each file:\n${events.map(({ message }) => message).join('\n')}`;
    if (atLeast) assert.ok(events.length >= files.length, told);
    else assert.equal(events.length, files.length, told);
    for (const event of events) assert.ok(event.certificate !== '' && event.type === 'Warning', event.message);
    assert.deepEqual(
      files.filter((file) => !isRight(file)).map(({ path }) => path),
      [],
      'right for a moment only',
    );
  }

  /** Until the coordinator has an event of its own for each file. */
  async function untilEvents(startMs: number, files: Watched[], matches: (event: Event, file: Watched) => boolean): Promise<Event[]> {
    const admin = await cluster.admin();
    let untold: Watched[] = files;
    let events: Event[] = [];
    const told = async (): Promise<boolean> => {
      events = (await admin.listEvents(cluster.name)).filter(({ time }) => (time?.getTime() ?? 0) >= startMs);
      untold = files.filter((file) => !events.some((event) => event.node === file.node.name && matches(event, file)));
      return untold.length === 0;
    };
    await until('an event for each file', eventMs, told).catch((error: unknown) => {
      const seen = events.map(({ node, reason, message }) => `${node} ${reason} ${message}`).join('\n');
      throw new Error(`no event tells of ${untold.map(({ node, path }) => `${node.name}:${path}`).join(', ')}; there are:\n${seen}`, {
        cause: error,
      });
    });
    return events.filter((event) => files.some((file) => event.node === file.node.name && matches(event, file)));
  }
});

/** An agent that is quick puts the file back between the two. */
function folderInPlaceOf(path: string): void {
  for (let tries = 0; ; tries++) {
    rmSync(path, { force: true });
    try {
      mkdirSync(path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || tries > 20) throw error;
    }
  }
}

function look(node: LocalNode, relativePath: string): Watched {
  const real = join(node.rootDir, relativePath);
  const link = lstatSync(real).isSymbolicLink() ? readlinkSync(real) : undefined;
  return { node, path: `/${relativePath}`, real, content: readFileSync(real), mode: statSync(real).mode & 0o7777, link };
}

/** A dated file may be written anew under another date: where a link leads counts only for links into versions. */
function isRight({ real, content, mode, link }: Watched): boolean {
  const found = lstatSync(real, { throwIfNoEntry: false });
  if (!found || found.isSymbolicLink() !== (link !== undefined)) return false;
  if (link?.includes('/') && readlinkSync(real) !== link) return false;
  const target = statSync(real, { throwIfNoEntry: false });
  return target?.isFile() === true && (target.mode & 0o7777) === mode && readFileSync(real).equals(content);
}

/** Rounds in which no two files of one certificate are damaged, so that it is clear what damage each repair answers. */
function rounds(files: readonly Watched[]): Watched[][] {
  const groups = new Map<string, Watched[]>();
  for (const file of files) {
    const name = file.path.endsWith('/kubelet.conf') ? 'kubelet-client-current' : basename(file.path).replace(/\.\w+$/, '');
    const key = `${file.node.name}/${file.path.includes('/etcd/') ? 'etcd-' : ''}${name}`;
    groups.set(key, [...(groups.get(key) ?? []), file]);
  }
  const count = Math.max(...[...groups.values()].map((group) => group.length));
  return Array.from({ length: count }, (_, index) => [...groups.values()].flatMap((group) => group.slice(index, index + 1)));
}

/** The files in twos, the last of an odd number with the two before it; a single one with any other file of its node. */
function inTwos(files: Watched[], all: readonly Watched[]): Watched[][] {
  const [only] = files;
  if (only && files.length === 1) return [[only, all.find((other) => other.node === only.node && other !== only) as Watched]];
  const twos = Array.from({ length: Math.floor(files.length / 2) }, (_, index) => files.slice(2 * index, 2 * index + 2));
  if (files.length % 2 === 1) twos.at(-1)?.push(files.at(-1) as Watched);
  return twos;
}

function rotate(files: Watched[]): void {
  for (const { real } of files) renameSync(real, `${real}.swap`);
  for (const [index, { real }] of files.entries()) renameSync(`${(files[(index + 1) % files.length] as Watched).real}.swap`, real);
}

/** The agent may be putting things right in there already. */
function remove(paths: string[]): void {
  for (const path of paths) rmSync(path, { recursive: true, maxRetries: 20, retryDelay: 5 });
}

function replaceFile(real: string, content: string): void {
  writeFileSync(`${real}.new`, content, { mode: 0o600 });
  renameSync(`${real}.new`, real);
}

function keyOf(certificatePath: string, { node }: Watched): string {
  return join(node.rootDir, certificatePath.replace(/\.crt$/, '.key'));
}

async function foreignPair(): Promise<{ certificate: string; key: string }> {
  const { privateKey } = await generateKeyPair('ecdsa-p384');
  const [notBefore, notAfter] = [-hourMs, hourMs].map((ms) => new Date(systemClock.nowMs() + ms)) as [Date, Date];
  const der = await createRootCertificate({
    commonName: 'somebody else',
    signer: signerFor(privateKey),
    serial: newSerial(),
    notBefore,
    notAfter,
  });
  return { certificate: certificatesToPem([der]), key: privateKeyToPem(privateKey) };
}
