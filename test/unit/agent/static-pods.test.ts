import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ComponentWatch, componentOf, StaticPodFiles, StaticPods } from '@evercert/agent/reload';
import { createStateFolder } from '@evercert/agent/state';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { EventLog } from './support.ts';

const pod = `# An admin's comment.
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver # and another
  annotations: { kept: "yes" }
spec: { containers: [{ name: kube-apiserver }] }
`;
const manifestFolder = '/etc/kubernetes/manifests';
const manifestPath = `${manifestFolder}/kube-apiserver.yaml`;
type StaticPodReload = Extract<ReloadSpec, { type: 'static-pod' }>;

describe('static pods', () => {
  let root: string;
  let real: string;
  let away: string;
  let events: EventLog;
  /** What was in kubelet's folder at each look at the component. */
  let seen: boolean[];
  let watch: ComponentWatch;
  let files: StaticPodFiles;
  let pods: StaticPods;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'evercert-static-pods-'));
    real = join(root, manifestPath);
    away = join(root, '/etc/kubernetes/.evercert-static-pods');
    mkdirSync(join(root, manifestFolder), { recursive: true });
    writeFileSync(real, pod, { mode: 0o600 });
    events = new EventLog();
    seen = [];
    watch = {
      // As kubelet would have it: gone a while after its manifest.
      ended: async () => {
        seen.push(existsSync(real));
        return seen.length > 2;
      },
      serving: async () => existsSync(real),
    };
    files = new StaticPodFiles({ rootDir: root, manifestFolder, folder: createStateFolder(join(root, 'state')), logger: silentLogger });
    pods = new StaticPods({ files, watch: async () => watch, fileCheckMs: 50, clock: systemClock, logger: silentLogger, events });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const spec = (change: Partial<StaticPodReload> = {}): StaticPodReload => ({
    type: 'static-pod',
    manifestPath,
    method: 'move',
    watch: 'tls://127.0.0.1:6443',
    timeoutSeconds: 10,
    ...change,
  });
  const inPlace = (): void => {
    assert.equal(readFileSync(real, 'utf8'), pod);
    assert.equal(statSync(real).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(join(root, manifestFolder)), ['kube-apiserver.yaml']);
    assert.deepEqual(existsSync(away) ? readdirSync(away) : [], []);
    assert.deepEqual(readdirSync(join(root, 'state', 'static-pods')), []);
  };

  it('are started anew by taking the manifest out until the process has ended, and putting it back', async () => {
    await pods.restart(spec());
    assert.deepEqual(seen, [false, false, false]);
    inPlace();
  });

  it('stay out for longer than kubelet takes to look, however soon the process ends', async () => {
    pods = new StaticPods({ files, watch: async () => watch, fileCheckMs: 500, clock: systemClock, logger: silentLogger, events });
    watch.ended = async () => true;
    const startMs = systemClock.monotonicMs();
    await pods.restart(spec());
    assert.ok(systemClock.monotonicMs() - startMs >= 540);
    inPlace();
  });

  it('are put back when they do not end in time, and the restart has failed', async () => {
    watch.ended = async () => false;
    await assert.rejects(pods.restart(spec({ timeoutSeconds: 0.2 })), {
      code: 'ReloadFailed',
      message: /kube-apiserver did not end within/,
    });
    inPlace();
  });

  it('that do not come back make the restart fail, with the manifest in its place', async () => {
    watch.serving = async () => false;
    await assert.rejects(pods.restart(spec({ timeoutSeconds: 0.5 })), { code: 'ReloadFailed', message: /did not serve again/ });
    inPlace();
  });

  it('are put back at once when the agent stops, and whoever asked for it is told', async () => {
    watch.ended = async () => false;
    const restart = assert.rejects(pods.restart(spec()), { code: 'Cancelled' });
    while (existsSync(real)) await systemClock.sleep(5);
    await pods.stop();
    await restart;
    inPlace();
    await assert.rejects(pods.restart(spec()), { code: 'Cancelled' });
  });

  it('are restarted one after the other where the same one is asked for twice', async () => {
    let out = 0;
    watch.ended = async () => {
      out += existsSync(real) ? 100 : 1;
      return true;
    };
    await Promise.all([pods.restart(spec()), pods.restart(spec())]);
    assert.ok(out < 100);
    inPlace();
  });

  for (const [what, path] of [
    ['outside the folder of static pods', '/etc/kubernetes/admin.conf'],
    ['below a folder of it', `${manifestFolder}/more/x.yaml`],
    ['that leads out', `${manifestFolder}/../admin.conf`],
    ['that is hidden', `${manifestFolder}/.x.yaml`],
  ] as const) {
    it(`leaves alone a file ${what}`, async () => {
      writeFileSync(join(root, '/etc/kubernetes/admin.conf'), 'secret');
      await assert.rejects(pods.restart(spec({ manifestPath: path })), { code: 'PathNotAllowed' });
      await assert.rejects(files.annotate(path, 'now'), { code: 'PathNotAllowed' });
      assert.equal(readFileSync(join(root, '/etc/kubernetes/admin.conf'), 'utf8'), 'secret');
    });
  }

  it('leaves alone what is no regular file, and does nothing where there is no manifest, as systemctl try-restart', async () => {
    symlinkSync('/etc/passwd', join(root, manifestFolder, 'etcd.yaml'));
    await assert.rejects(pods.restart(spec({ manifestPath: `${manifestFolder}/etcd.yaml` })), { code: 'ReloadFailed' });
    for (const method of ['move', 'annotation'] as const) await pods.restart(spec({ manifestPath: `${manifestFolder}/none.yaml`, method }));
    assert.deepEqual(readdirSync(join(root, manifestFolder)), ['etcd.yaml', 'kube-apiserver.yaml']);
    rmSync(join(root, manifestFolder), { recursive: true });
    await pods.restart(spec());
    assert.deepEqual(seen, []);
  });

  it('go back when the agent that had them out has crashed, with and without the journal', async () => {
    await files.takeOut(manifestPath);
    assert.equal(existsSync(real), false);
    assert.equal(statSync(away).mode & 0o777, 0o700);
    assert.deepEqual(await pods.recover(), [`static pod manifest ${real} was put back`]);
    inPlace();
    await files.takeOut(manifestPath);
    rmSync(join(root, 'state', 'static-pods', 'kube-apiserver.yaml.json'));
    await pods.scan();
    assert.deepEqual(events.reasons(), ['StaticPodPutBack']);
    inPlace();
    assert.deepEqual(await pods.recover(), []);
  });

  it('never replace what somebody else put in the place meanwhile: the older one is kept aside', async () => {
    await files.takeOut(manifestPath);
    writeFileSync(real, 'newer');
    await pods.recover();
    assert.equal(readFileSync(real, 'utf8'), 'newer');
    assert.equal(readFileSync(join(away, 'kube-apiserver.yaml.superseded'), 'utf8'), pod);
    assert.deepEqual(await pods.recover(), []);
  });

  it('are left out by no scan while a restart has them out', async () => {
    watch.ended = async () => {
      await pods.scan();
      seen.push(existsSync(real));
      return true;
    };
    await pods.restart(spec());
    assert.deepEqual(seen, [false]);
    inPlace();
  });

  it('are replaced by kubelet for a changed annotation, and all else in the manifest stays', async () => {
    watch.ended = async () => true;
    await pods.restart(spec({ method: 'annotation' }));
    const text = readFileSync(real, 'utf8');
    assert.match(text, /evercert\.io\/restarted-at: "?20\d\d-/);
    assert.match(text, /# An admin's comment\.[\s\S]*# and another[\s\S]*kept: "yes"/);
    assert.equal(statSync(real).mode & 0o777, 0o600);
    assert.equal(text.split('\n').length, pod.split('\n').length);
    const again = text.replace(/20\d\d-[^" }]*/, 'X');
    await systemClock.sleep(2);
    await files.annotate(manifestPath, '2027-01-01T00:00:00Z');
    assert.equal(readFileSync(real, 'utf8').replace(/2027-[^" }]*/, 'X'), again);
  });

  it('get no annotation where the file is no pod', async () => {
    for (const text of ['kind: [', 'just text', 'kind: Deployment\n']) {
      writeFileSync(real, text);
      await assert.rejects(files.annotate(manifestPath, 'now'), { code: 'ReloadFailed' });
      assert.equal(readFileSync(real, 'utf8'), text);
    }
  });

  it('are named after their manifest', () => {
    assert.equal(componentOf(spec()), 'kube-apiserver');
    assert.equal(componentOf(spec({ component: 'api' })), 'api');
    assert.equal(componentOf({ type: 'systemd', unit: 'etcd.service', action: 'restart' }), 'etcd');
    assert.equal(componentOf({ type: 'signal', pidPath: '/run/kube scheduler.pid', signal: 'SIGTERM' }), 'kube-scheduler');
    assert.equal(componentOf({ type: 'command', argv: ['/usr/bin/---'], timeoutSeconds: 1 }), 'component');
  });
});
