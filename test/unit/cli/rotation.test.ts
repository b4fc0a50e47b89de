import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthority, CertificateAuthorityRotation, type DeepPartial, Role, RotationAction } from '@evercert/proto';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { repositoryRoot } from '../../support/tools.ts';
import { at, fakeApi, type Handlers, now, run } from './support.ts';

/** Waits for nothing: time goes on by itself. */
class RunningClock extends FakeClock {
  override sleep(durationMs: number): Promise<void> {
    return this.advance(durationMs);
  }
}

const rotation = (fields: DeepPartial<CertificateAuthorityRotation> = {}): CertificateAuthorityRotation =>
  CertificateAuthorityRotation.fromPartial({
    id: 'ro-a',
    cluster: 'demo',
    certificateAuthority: 'cluster-ca',
    stage: 'Reissuing',
    stageSince: at(-60),
    startedAt: at(-300),
    by: 'admin/ann',
    reason: 'requested',
    keyAlgorithm: 'ecdsa-p384',
    oldSerial: 'aa',
    newSerial: 'bb',
    ...fields,
  });
const nodes: DeepPartial<CertificateAuthorityRotation>['nodes'] = [
  {
    node: 'w-2',
    role: Role.WORKER,
    state: 'Behind',
    reason: 'kubelet-client is being renewed: the disk is full',
    certificatesLeft: 2,
    cutOff: true,
  },
  { node: 'w-3', role: Role.WORKER, state: 'Away', reason: 'it has not been heard since yesterday', certificatesLeft: 2, cutOff: true },
  { node: 'cp-1', role: Role.CONTROL_PLANE, state: 'Done' },
];
const underWay = rotation({
  nodes,
  nodesDone: 1,
  nodesTotal: 2,
  waitingFor: '1 of 2 nodes: w-2 (the disk is full)',
  following: ['demo/etcd-ca'],
});
const ended = rotation({ id: 'ro-0', stage: 'Completed', startedAt: at(-9000), endedAt: at(-8000) });
const list: Handlers['listCertificateAuthorityRotations'] = ({ all }) => ({ rotations: all ? [underWay, ended] : [underWay] });
const begun: Handlers['rotateCertificateAuthority'] = ({ certificateAuthorities }) => ({
  rotations: certificateAuthorities.map((name, index) =>
    rotation({ id: index === 0 ? 'ro-b' : '', certificateAuthority: name, stage: 'Preparing' }),
  ),
  requests: {},
  warnings: ['w-3 is not heard'],
});

describe('evercert ca rotate', () => {
  it('begins the rotation of CAs in their order, and says how to follow it', async () => {
    const api = fakeApi({ rotateCertificateAuthority: begun });
    const { out, err, exitCode } = await run(
      ['ca', 'rotate', 'demo', '--ca', 'all', '--key-algorithm', 'ecdsa-p384', '--deadline', '24h', '--note', 'as every year'],
      { api },
    );
    assert.equal(exitCode, 0);
    assert.equal(err, 'Warning: w-3 is not heard\n');
    assert.equal(
      out,
      'rotation/ro-b begun: cluster-ca of cluster demo\nthen: etcd-ca, front-proxy-ca\nIt goes on by itself: evercert ca status demo --watch\n',
    );
    assert.deepEqual(api.calls[0]?.request, {
      cluster: 'demo',
      certificateAuthorities: ['cluster-ca', 'etcd-ca', 'front-proxy-ca'],
      reason: 'requested',
      note: 'as every year',
      keyAlgorithm: 'ecdsa-p384',
      intermediate: false,
      deadline: { seconds: 86_400, nanos: 0 },
      dryRun: false,
    });
  });

  it('needs no cluster for the control CA alone', async () => {
    const api = fakeApi({
      rotateCertificateAuthority: () => ({
        rotations: [rotation({ cluster: '', certificateAuthority: 'control-ca' })],
        requests: {},
        warnings: [],
      }),
    });
    const { out } = await run(['ca', 'rotate', '--ca', 'control-ca'], { api });
    assert.match(out, /^rotation\/ro-a begun: control-ca\nIt goes on by itself: evercert ca status --ca control-ca --watch\n$/);
    assert.deepEqual(
      api.calls
        .map(({ request }) => request)
        .filter((request) => request !== undefined)
        .map((request) => (request as { cluster: string }).cluster),
      [''],
    );
  });

  it('shows what would happen, and who would be cut off', async () => {
    const api = fakeApi({
      rotateCertificateAuthority: () => ({ rotations: [rotation({ nodes, reason: 'compromise' })], requests: {}, warnings: [] }),
    });
    const { out } = await run(['ca', 'rotate', 'demo', '--ca', 'cluster-ca', '--reason', 'compromise', '--dry-run'], { api });
    assert.match(out, /would be rotated to a new ecdsa-p384 key \(compromise\): 4 certificates on 3 nodes renewed\n/);
    assert.match(out, /cut off until they are repaired, unless they are heard before: w-2, w-3\n/);
    assert.match(out, /w-3 +worker +Away +2 +yes +it has not been heard since yesterday\n/);
  });

  it('writes the request of an intermediate into a file that was not there', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'evercert-rotation-'));
    const file = join(folder, 'ca.csr');
    const api = fakeApi({
      rotateCertificateAuthority: () => ({
        rotations: [rotation({ stage: 'AwaitingCertificate' })],
        requests: { 'cluster-ca': 'PEM\n' },
        warnings: [],
      }),
    });
    try {
      const order = ['ca', 'rotate', 'demo', '--ca', 'cluster-ca', '--intermediate', '--request-file', file];
      assert.equal((await run(order, { api })).exitCode, 0);
      assert.equal(readFileSync(file, 'utf8'), 'PEM\n');
      assert.equal((await run(order, { api })).exitCode, 5);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('follows with --wait to the end of the last, and fails when one was aborted', async () => {
    const stages = ['Spreading', 'Completed'];
    const fresh = { certificateAuthority: 'cluster-ca', startedAt: at(0), following: [] };
    const api = fakeApi({
      rotateCertificateAuthority: () => ({ rotations: [rotation({ ...fresh, stage: 'Preparing' })], requests: {}, warnings: [] }),
      listCertificateAuthorityRotations: () => ({ rotations: [rotation({ ...fresh, stage: stages.shift() ?? 'Completed' }), ended] }),
    });
    const { out, exitCode } = await run(['ca', 'rotate', 'demo', '--ca', 'cluster-ca', '--wait'], { api, clock: new RunningClock(now) });
    assert.equal(exitCode, 0);
    assert.match(out, /12:00:00 {2}cluster-ca {2}Spreading\n12:00:0\d {2}cluster-ca {2}Completed\n$/);
    const failing = fakeApi({
      rotateCertificateAuthority: () => ({ rotations: [rotation({ ...fresh, stage: 'Preparing' })], requests: {}, warnings: [] }),
      listCertificateAuthorityRotations: () => ({ rotations: [rotation({ ...fresh, stage: 'Aborted' })] }),
    });
    assert.equal(
      (await run(['ca', 'rotate', 'demo', '--ca', 'cluster-ca', '--wait'], { api: failing, clock: new RunningClock(now) })).exitCode,
      1,
    );
  });

  it('refuses names that are no CAs, and a request file without a request', async () => {
    for (const args of [
      ['--ca', 'root-ca'],
      ['--ca', 'etcd-ca', '--request-file', 'x'],
      ['--ca', 'etcd-ca', '--deadline', '0s'],
    ]) {
      assert.equal((await run(['ca', 'rotate', 'demo', ...args], { api: fakeApi({}) })).exitCode, 2);
    }
  });
});

describe('evercert ca status', () => {
  it('shows each rotation with the nodes that are not through', async () => {
    const { out } = await run(['ca', 'status', 'demo'], { api: fakeApi({ listCertificateAuthorityRotations: list }) });
    assert.match(out, /^ID: +ro-a\nCA: +cluster-ca of cluster demo\nStage: +Reissuing, since .* \(60s ago\)\n/);
    assert.match(out, /Progress: +1 of 2 nodes, 1 away\n/);
    assert.match(out, /w-2 +worker +Behind +2 +yes +kubelet-client is being renewed: the disk is full\n/);
    assert.doesNotMatch(out, /cp-1/);
    assert.match(out, /Other Nodes: +1, which are through/);
    const all = await run(['ca', 'status', 'demo', '--all'], { api: fakeApi({ listCertificateAuthorityRotations: list }) });
    assert.match(all.out, /cp-1 +control-plane +Done +0 +no +<none>\n.*ID: +ro-0\n.*Stage: +Completed/s);
  });

  it('prints objects, and says when there is nothing', async () => {
    const { out } = await run(['ca', 'status', 'demo', '-o', 'json'], { api: fakeApi({ listCertificateAuthorityRotations: list }) });
    const [item] = JSON.parse(out).items;
    assert.deepEqual(
      [item.kind, item.metadata.name, item.spec.certificateAuthority, item.status.nodesDone],
      ['CertificateAuthorityRotation', 'ro-a', 'cluster-ca', 1],
    );
    assert.deepEqual(item.status.nodes[0], {
      node: 'w-2',
      role: 'worker',
      state: 'Behind',
      reason: 'kubelet-client is being renewed: the disk is full',
      certificatesLeft: 2,
      cutOff: true,
    });
    const none = await run(['ca', 'status', 'demo', '--ca', 'etcd-ca'], { api: fakeApi({ listCertificateAuthorityRotations: list }) });
    assert.equal(none.out, 'No rotation is under way in cluster demo.\n');
  });

  it('watches until nothing is under way, with a line for each change of a rotation or a node', async () => {
    const answers = [underWay, underWay, rotation({ stage: 'Completed' })];
    const api = fakeApi({
      listCertificateAuthorityRotations: () => ({ rotations: [answers.shift() ?? rotation({ stage: 'Completed' })] }),
    });
    const { out } = await run(['ca', 'status', 'demo', '--watch'], { api, clock: new RunningClock(now) });
    const lines = out.trim().split('\n');
    assert.equal(lines.length, 4);
    assert.match(lines[0]!, /cluster-ca {2}Reissuing: 1 of 2 nodes, 1 away; waits for 1 of 2 nodes/);
    assert.match(lines[1]!, /w-2 {2}worker {2}Behind {2}2 left, cut off if distrusted now {2}kubelet-client/);
    assert.match(lines[3]!, /cluster-ca {2}Completed$/);
  });
});

describe('evercert ca pause, resume, abort and deadline', () => {
  it('set the rotation that is under way', async () => {
    const cases: [string[], RotationAction, string][] = [
      [['pause'], RotationAction.PAUSE, 'rotation/ro-a paused (Reissuing)\n'],
      [['resume'], RotationAction.RESUME, 'rotation/ro-a resumed (Reissuing)\n'],
      [['abort'], RotationAction.ABORT, 'rotation/ro-a is being aborted (Reissuing)\n'],
      [['deadline', '--in', '2h'], RotationAction.SET_DEADLINE, 'rotation/ro-a has its deadline in 2h (Reissuing)\n'],
      [['deadline', '--in', 'none'], RotationAction.SET_DEADLINE, 'rotation/ro-a has no deadline any more (Reissuing)\n'],
    ];
    for (const [args, action, expected] of cases) {
      const api = fakeApi({ listCertificateAuthorityRotations: list, setCertificateAuthorityRotation: () => ({ rotation: underWay }) });
      const [verb = '', ...options] = args;
      const { out } = await run(['ca', verb, 'demo', '--ca', 'cluster-ca', '--reason', 'lunch', ...options], { api });
      assert.equal(out, expected);
      const deadline = args.includes('2h') ? { seconds: 7200, nanos: 0 } : undefined;
      assert.deepEqual(api.calls.find(({ method }) => method === 'setCertificateAuthorityRotation')?.request, {
        id: 'ro-a',
        reason: 'lunch',
        action,
        deadline,
      });
    }
  });

  it('fail where there is no rotation, and as the coordinator says', async () => {
    const api = fakeApi({
      listCertificateAuthorityRotations: list,
      setCertificateAuthorityRotation: () => {
        throw new EvercertError('FailedPrecondition', 'rotation ro-a cannot be aborted at Retiring');
      },
    });
    assert.equal((await run(['ca', 'abort', 'demo', '--ca', 'cluster-ca'], { api })).exitCode, 6);
    assert.equal((await run(['ca', 'abort', 'demo', '--ca', 'etcd-ca'], { api })).exitCode, 4);
  });
});

describe('CAs as a resource', () => {
  const ca = (fields: DeepPartial<CertificateAuthority>): CertificateAuthority =>
    CertificateAuthority.fromPartial({
      cluster: 'demo',
      name: 'cluster-ca',
      keyAlgorithm: 'ecdsa-p384',
      notBefore: at(-1000),
      notAfter: at(86_400),
      ...fields,
    });
  const generations = [
    { state: 'current', serial: 'bb', keyAlgorithm: 'ecdsa-p384', notAfter: at(86_400), liveCertificates: 7 },
    { state: 'retired', serial: 'aa', keyAlgorithm: 'rsa-4096', notAfter: at(86_400), compromised: true, keyDestroyed: true },
  ];

  it('show their generations, whether they are rotated, and that their end is near', async () => {
    const certificateAuthorities = [ca({ generations, rotation: 'ro-a' }), ca({ name: 'etcd-ca', ending: 'WithinYear' })];
    const api = fakeApi({ listCertificateAuthorities: () => ({ certificateAuthorities }) });
    const { out } = await run(['get', 'cas'], { api });
    assert.match(out, /cluster-ca +ecdsa-p384 +here +0 +current,retired +Rotating/);
    assert.match(out, /etcd-ca +ecdsa-p384 +here +0 +<none> +WithinYear/);
    const described = await run(['describe', 'ca', 'cluster-ca'], { api });
    assert.match(described.out, /current +bb +ecdsa-p384 +in 1d +7 +kept\n +retired, compromised +aa +rsa-4096 +in 1d +0 +destroyed/);
  });
});

describe('the documentation of rotations', () => {
  it('shows commands that there are', async () => {
    const page = readFileSync(join(repositoryRoot, 'docs', 'ca-rotation.md'), 'utf8');
    const blocks = [...page.matchAll(/(<!-- offline -->\n)?```sh\n([^`]*)```/g)].filter(([, offline]) => offline === undefined);
    const commands = blocks.flatMap(([, , text = '']) => text.split('\n')).filter((line) => line.startsWith('evercert ca '));
    assert.ok(commands.length > 10);
    for (const command of commands.filter((line) => !line.includes(' install ') && !line.includes('--request-file'))) {
      const args = [...command.replace(/ +#.*$/, '').matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
      const api = fakeApi({
        rotateCertificateAuthority: begun,
        listCertificateAuthorityRotations: () => ({
          rotations: [rotation({ certificateAuthority: 'cluster-ca', stage: 'Completed', startedAt: at(0) })],
        }),
        setCertificateAuthorityRotation: () => ({ rotation: underWay }),
      });
      const { exitCode, err } = await run(
        args.slice(1).filter((word) => word !== '--wait'),
        { api, clock: new RunningClock(now) },
      );
      assert.equal(exitCode, 0, `${command}: ${err}`);
    }
  });
});
