/** `evercert certs check` beside the real `kubeadm certs check-expiration`, on folders that kubeadm made. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { assertSideBySide, checkExpiration, makeKubeadmFolder, pathOf } from '../support/kubeadm.ts';
import { temporaryFolder } from '../support/live.ts';
import { kubeBinary, needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

describe('evercert certs check beside kubeadm certs check-expiration', function () {
  this.timeout(60_000);
  let kubeadm: string;
  let root: string;
  let folder: string;

  before(async function () {
    kubeadm = needTool(this, 'kubeadm', kubeBinary);
    // kubeadm looks for kubeconfigs at one place only, and is put into the folder by chroot.
    if (process.getuid?.() !== 0) this.skip();
    root = temporaryFolder('kubeadm');
    folder = await makeKubeadmFolder(kubeadm, root, { name: 'cp-1', address: '10.0.0.5', extraSans: [] }, { kubeconfigs: true });
  });
  after(() => root !== undefined && rmSync(root, { recursive: true, force: true }));

  const check = (...args: string[]): Promise<RunResult> =>
    run(join(repositoryRoot, 'cli', 'bin', 'evercert'), ['certs', 'check', folder, '--root', root, ...args]);

  it('tells of every certificate that kubeadm knows: its name, end, residual time and CA', async () => {
    const rows = await checkExpiration(kubeadm, root);
    assert.equal(rows.length, 13);
    assertSideBySide(rows, JSON.parse((await check('-o', 'json')).stdout));
  });

  it('names what is missing as kubeadm does, and what is externally managed', async () => {
    for (const name of ['scheduler.conf', 'pki/etcd/peer.crt', 'pki/front-proxy-ca.key']) rmSync(join(folder, name));
    const rows = await checkExpiration(kubeadm, root);
    const missing = rows.filter(({ notAfterMs }) => notAfterMs === undefined).map(({ name, isCa }) => pathOf(name, isCa));
    assert.deepEqual(missing, ['pki/etcd/peer.crt', 'scheduler.conf']);
    assert.ok(rows.some(({ name, externallyManaged }) => name === 'front-proxy-client' && externallyManaged));
    const { stdout } = await check('-o', 'json');
    assertSideBySide(rows, JSON.parse(stdout));
    assert.deepEqual(JSON.parse(stdout).absent.toSorted(), missing);
    const table = (await check()).stdout;
    assert.match(table, /pki\/front-proxy-client.crt .* pki\/front-proxy-ca.crt \(key elsewhere\) /);
    assert.match(table, /\nNot there, of what kubeadm keeps on a control-plane node: pki\/etcd\/peer.crt, scheduler.conf\n/);
  });
});
