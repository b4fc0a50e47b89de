import assert from 'node:assert/strict';
import {
  ChangeType,
  Cluster,
  type CreateClusterRequest,
  type DeepPartial,
  Event,
  type NodeReplacement,
  Replacement,
  ReplacementPause,
  ReplacementPolicy,
  Role,
  type WatchResponse,
} from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { parse } from 'yaml';
import { at, fakeApi, type Handlers, node, run } from './support.ts';

const replacement = (id: string, fields: DeepPartial<Replacement> = {}): Replacement =>
  Replacement.fromPartial({
    id,
    cluster: 'demo',
    node: 'w-1',
    newNode: 'w-1',
    provisioner: 'machines',
    state: 'Running',
    step: 'Join',
    attempt: 1,
    reason: 'kubelet-client expired 11m ago',
    message: 'waits for w-1 to join',
    createdAt: at(-90),
    ...fields,
  });
const step = (name: string, seconds: number, fields: object = {}) => ({
  step: name,
  attempt: 1,
  idempotencyKey: `rp-b-1-${name.toLowerCase()}`,
  startedAt: at(seconds),
  finishedAt: at(seconds + 5),
  result: 'Done',
  ...fields,
});
const done = replacement('rp-a', { state: 'Succeeded', step: 'Done', createdAt: at(-7200), finishedAt: at(-7000) });
const running = replacement('rp-b', {
  steps: [
    step('Drain', -60),
    step('Create', -40, { result: 'Failed', message: 'no room' }),
    step('Join', -20, { finishedAt: undefined, result: '' }),
  ],
});
const verdict = (fields: DeepPartial<NodeReplacement>) => ({ replacement: { since: at(-120), ...fields } });
const held = node('w-2', {
  ...verdict({ verdict: 'Held', reason: 'TooManyUnhealthy', message: '3 of 5 workers fail, at most 2 may' }),
  status: { phase: 'Expired' },
});
const replacing = node('w-1', {
  ...verdict({ verdict: 'Replacing', reason: 'UnderWay', replacementId: 'rp-b', step: 'Join' }),
  status: { phase: 'Replacing' },
});
const well = node('w-3', { status: { phase: 'Ready' } });
const controlPlane = node('cp-1', {
  role: Role.CONTROL_PLANE,
  ...verdict({ verdict: 'Never', reason: 'ControlPlane', message: 'evercert repair' }),
  status: { phase: 'Expired' },
});
const pauses = [ReplacementPause.fromPartial({ cluster: '', by: 'admin/eve', at: at(-60), reason: 'storm' })];
const listReplacements: Handlers['listReplacements'] = ({ id, node: name }) => ({
  replacements: [running, done].filter((one) => (id === '' || one.id === id) && (name === '' || one.node === name)),
  pauses: [],
});

describe('replacements as a resource', () => {
  it('are listed, the newest last, under each of their names', async () => {
    for (const type of ['replacements', 'replacement', 'rp']) {
      const { out } = await run(['get', type], { api: fakeApi({ listReplacements }) });
      assert.equal(
        out,
        'ID     NODE   NEW-NODE   STATE       STEP   ATTEMPT   AGE\n' +
          'rp-a   w-1    w-1        Succeeded   Done   1         120m\n' +
          'rp-b   w-1    w-1        Running     Join   1         90s\n',
      );
    }
  });

  it('are shown wide, as objects, and by name', async () => {
    const wide = await run(['get', 'rp', '-o', 'wide'], { api: fakeApi({ listReplacements }) });
    assert.match(wide.out, /rp-b .* machines +<none> +kubelet-client expired 11m ago +waits for w-1 to join\n/);
    const object = parse((await run(['get', 'rp/rp-b', '-o', 'yaml'], { api: fakeApi({ listReplacements }) })).out);
    assert.deepEqual([object.kind, object.metadata.name, object.spec.node, object.status.step], ['Replacement', 'rp-b', 'w-1', 'Join']);
    assert.equal(object.status.steps[0].idempotencyKey, 'rp-b-1-drain');
    assert.equal(
      (await run(['get', 'rp', '--node', 'w-1', '-o', 'name'], { api: fakeApi({ listReplacements }) })).out.split('\n').length,
      3,
    );
    assert.equal((await run(['get', 'rp', 'rp-x'], { api: fakeApi({ listReplacements }) })).exitCode, 4);
  });

  it('are watched, with a line for each step', async () => {
    const change = (type: ChangeType, value?: Replacement): WatchResponse => ({
      type,
      object: value && { $case: 'replacement', value },
    });
    const later = { ...running, step: 'Verify' };
    const api = fakeApi({}, [
      change(ChangeType.ADDED, running),
      change(ChangeType.SYNCED),
      change(ChangeType.MODIFIED, later),
      change(ChangeType.MODIFIED, later),
    ]);
    const { out } = await run(['get', 'rp', '-w'], { api });
    assert.deepEqual(
      out.split('\n').map((text) => text.split(/ +/)[4]),
      ['STEP', 'Join', 'Verify', undefined],
    );
    assert.deepEqual(api.calls[0]?.request, { cluster: 'demo', resources: ['replacements'] });
  });

  it('are described as the story of their steps', async () => {
    const api = fakeApi({ listReplacements, listEvents: () => ({ events: [], nextPageToken: '' }) });
    const { out } = await run(['describe', 'replacement', 'rp-b'], { api });
    assert.match(out, /\nReason: +kubelet-client expired 11m ago\n/);
    assert.match(out, /\n {2}Create +1 +Failed +40s ago +5s +rp-b-1-create +no room\n/);
    assert.match(out, /\n {2}Join +1 +<none> +20s ago +<unfinished> +rp-b-1-join +<none>\n/);
  });
});

describe('replacement of a node', () => {
  it('is seen wide, with its verdict and reason', async () => {
    const cordoned = node('w-4', { cordon: { by: 'admin/eve', until: at(3600) }, status: { phase: 'Ready' } });
    const { out } = await run(['get', 'nodes', '-o', 'wide'], {
      api: fakeApi({ listNodes: () => ({ nodes: [held, replacing, well, cordoned] }) }),
    });
    assert.match(out, /w-1 .* Replacing .* Replacing\/Join /);
    assert.match(out, /w-2 .* Held\/TooManyUnhealthy /);
    assert.match(out, /w-4 .* 2026-06-01T13:00:00Z +<none> /);
  });

  it('is told in its description, with the machines before it and those that came back', async () => {
    const returned = Event.fromPartial({ time: at(-9), type: 'Warning', reason: 'RemovedNodeReturned', message: 'refused' });
    const api = fakeApi({
      listNodes: () => ({ nodes: [held] }),
      listManifests: () => ({ manifests: [] }),
      listReplacements: () => ({ replacements: [done], pauses: [] }),
      listEvents: ({ reason }) => ({ events: reason === 'RemovedNodeReturned' ? [returned] : [], nextPageToken: '' }),
    });
    const { out } = await run(['describe', 'node', 'w-2'], { api });
    assert.match(
      out,
      /\nReplacement: +Held\/TooManyUnhealthy, since 2026-06-01T11:58:00Z \(2m ago\)\n +3 of 5 workers fail, at most 2 may\n/,
    );
    assert.match(out, /\nReplacements:\n.*\n {2}rp-a +w-1 +w-1 +Succeeded /);
    assert.match(out, /\nRemoved Machines That Returned:\n.*\n {2}Warning +RemovedNodeReturned +9s +<none> +refused\n/);
  });

  it('is part of the object', async () => {
    const { out } = await run(['get', 'node', 'w-2', '-o', 'json'], { api: fakeApi({ listNodes: () => ({ nodes: [held] }) }) });
    assert.equal(JSON.parse(out).status.replacement.reason, 'TooManyUnhealthy');
  });
});

describe('evercert replacement status', () => {
  const handlers: Handlers = {
    planReplacements: () => ({
      nodes: [controlPlane, replacing, held, well],
      workers: 5,
      unhealthy: 3,
      maxUnhealthy: 2,
      held: '3 of 5 workers fail',
    }),
    listReplacements: () => ({ replacements: [running, done], pauses }),
    listClusters: () => ({ clusters: [] }),
  };

  it('shows each verdict with its reason, what is under way, the counts and the pauses', async () => {
    const api = fakeApi(handlers);
    const { out, exitCode } = await run(['replacement', 'status'], { api });
    assert.equal(exitCode, 0);
    assert.deepEqual(api.calls[0]?.request, { cluster: 'demo' });
    assert.match(out, /\nWorkers: +5, of which 3 fail; at most 2 may \(maxUnhealthy 40%\)\n/);
    assert.match(out, /\nHeld Back: +3 of 5 workers fail\n/);
    assert.match(out, /\nPaused: +all clusters, by admin\/eve at 2026-06-01T11:59:00Z \(60s ago\): storm\n/);
    assert.match(out, /\n {2}rp-b +w-1 +w-1 +Running +Join /);
    assert.doesNotMatch(out, /rp-a/);
    assert.match(out, /\n {2}w-2 +worker +Expired +Held +TooManyUnhealthy +2m +3 of 5 workers fail, at most 2 may\n/);
    assert.match(out, /\n {2}cp-1 +control-plane +Expired +Never +ControlPlane /);
    assert.match(out, /\nOther Nodes: +1, with nothing to decide/);
    assert.match((await run(['replacement', 'status', '--all'], { api: fakeApi(handlers) })).out, /\n {2}w-3 +worker +Ready +<none> /);
  });

  it('is one object for programs, with every node', async () => {
    const { out } = await run(['replacement', 'status', 'demo', '-o', 'json'], { api: fakeApi(handlers) });
    const object = JSON.parse(out);
    assert.deepEqual([object.kind, object.metadata.name, object.status.unhealthy], ['ReplacementPlan', 'demo', 3]);
    assert.deepEqual(
      object.status.nodes.map((one: { name: string; replacement?: { verdict: string } }) => [one.name, one.replacement?.verdict]),
      [
        ['cp-1', 'Never'],
        ['w-1', 'Replacing'],
        ['w-2', 'Held'],
        ['w-3', undefined],
      ],
    );
    assert.equal(object.status.pauses[0].by, 'admin/eve');
  });
});

describe('evercert replacement pause, resume and cancel', () => {
  it('pause one cluster or all, and say what was so already', async () => {
    const api = fakeApi({ setReplacementPause: ({ cluster }) => ({ changed: cluster !== '' }) });
    assert.equal((await run(['replacement', 'pause', '--reason', 'storm'], { api })).out, 'replacement in cluster demo paused\n');
    assert.deepEqual(api.calls[0]?.request, { cluster: 'demo', paused: true, reason: 'storm' });
    assert.equal((await run(['replacement', 'pause', 'other'], { api })).out, 'replacement in cluster other paused\n');
    assert.equal((await run(['replacement', 'pause', '--all'], { api })).out, 'replacement in all clusters already paused\n');
    assert.equal((await run(['replacement', 'pause', 'demo', '--all'], { api })).exitCode, 2);
    assert.equal((await run(['replacement', 'pause', 'demo', '-c', 'other'], { api })).exitCode, 2);
  });

  it('resume, and tell of a pause that still holds', async () => {
    const api = fakeApi({ setReplacementPause: () => ({ changed: true }), listReplacements: () => ({ replacements: [], pauses }) });
    const { out, err } = await run(['replacement', 'resume'], { api });
    assert.equal(out, 'replacement in cluster demo resumed\n');
    assert.equal(err, 'Still paused: all clusters, by admin/eve at 2026-06-01T11:59:00Z (60s ago): storm\n');
  });

  it('cancel by id, also without a cluster, and tell with the exit code what cannot be', async () => {
    const cancelReplacement = ({ id }: { id: string }) => ({ replacement: replacement(id, { message: 'w-1 stays' }) });
    const api = fakeApi({ cancelReplacement, listReplacements });
    assert.equal((await run(['replacement', 'cancel', 'rp/rp-b'], { api })).out, 'replacement/rp-b cancelled: w-1 stays\n');
    assert.equal((await run(['replacement', 'cancel', 'rp-b', '--context', 'all'], { api })).exitCode, 0);
    assert.deepEqual(api.calls.find(({ method }) => method === 'listReplacements')?.request, { cluster: '', id: 'rp-b', node: '' });
    assert.equal((await run(['replacement', 'cancel', 'rp-x', '--context', 'all'], { api })).exitCode, 4);
    assert.equal((await run(['replacement', 'cancel', 'node/w-1'], { api })).exitCode, 2);
    const ended = () => {
      throw new EvercertError('FailedPrecondition', 'it has ended');
    };
    assert.equal((await run(['replacement', 'cancel', 'rp-a'], { api: fakeApi({ cancelReplacement: ended }) })).exitCode, 6);
  });
});

describe('the replacement policy of a cluster', () => {
  it('is given when the cluster is created, in its main words', async () => {
    const api = fakeApi({ createCluster: ({ name }) => ({ cluster: Cluster.fromPartial({ name }), certificateAuthorities: [] }) });
    const words = [
      '--replacement-provisioner',
      'machines',
      '--replacement-mode',
      'dry-run',
      '--replacement-grace',
      '5m',
      '--max-unhealthy',
      '2',
    ];
    assert.equal((await run(['cluster', 'create', 'prod', ...words], { api })).exitCode, 0);
    const { spec } = api.calls[0]!.request as CreateClusterRequest;
    const given = { provisioner: 'machines', mode: 'dry-run', graceSeconds: 300, maxUnhealthy: '2' };
    assert.deepEqual(spec?.replacement, ReplacementPolicy.fromPartial(given));
    assert.equal((await run(['cluster', 'create', 'prod', '--replacement-mode', 'maybe'], { api })).exitCode, 2);
  });

  it('is described, and shown as it can be applied', async () => {
    const maintenanceWindows = [
      { name: 'backups', days: ['Sat', 'Sun'], start: '02:00', durationSeconds: 14_400, nodes: ['w-1'], labels: { rack: 'a' } },
      { name: 'holidays', from: at(0), until: at(3600) },
    ];
    const spec = { layout: 'founding', replacement: { provisioner: 'machines', maxUnhealthy: '2', maintenanceWindows } };
    const cluster = Cluster.fromPartial({ name: 'demo', spec });
    const api = fakeApi({
      listClusters: () => ({ clusters: [cluster] }),
      listCertificateAuthorities: () => ({ certificateAuthorities: [] }),
      listNodes: () => ({ nodes: [] }),
    });
    const shown = parse((await run(['get', 'cluster', 'demo', '-o', 'yaml'], { api })).out).spec.replacement;
    assert.deepEqual([shown.provisioner, shown.maxUnhealthy, shown.grace], ['machines', 2, '10m']);
    assert.deepEqual(shown.maintenanceWindows, [
      { name: 'backups', days: ['Sat', 'Sun'], start: '02:00', duration: '4h', nodes: ['w-1'], labels: { rack: 'a' } },
      { name: 'holidays', from: '2026-06-01T12:00:00Z', until: '2026-06-01T13:00:00Z' },
    ]);
    const { out } = await run(['describe', 'cluster', 'demo'], { api });
    assert.match(
      out,
      /\nReplacement: +by provisioner machines, mode active, 10m after the end of the certificates\n +while at most 2 of the workers/,
    );
    assert.match(out, /\n {2}backups +Sat,Sun from 02:00 UTC for 4h +w-1,rack=a\n/);
    assert.match(out, /\n {2}holidays +2026-06-01T12:00:00Z to 2026-06-01T13:00:00Z +all\n/);
  });
});
