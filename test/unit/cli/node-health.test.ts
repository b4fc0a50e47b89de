import assert from 'node:assert/strict';
import { ChangeType, type DeepPartial, Event, type WatchResponse } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { at, fakeApi, node, run } from './support.ts';

const source = 'certificate-renewal-worker';
const event = (id: string, seconds: number, fields: DeepPartial<Event>): Event =>
  Event.fromPartial({ id, time: at(seconds), cluster: 'demo', node: 'w-1', type: 'Normal', source, ...fields });
const issued = event('1', -60, { reason: 'CertificateIssued', certificate: 'kubelet-client', message: 'issued' });
const failed = event('2', -5, {
  reason: 'RenewalFailed',
  type: 'Warning',
  certificate: 'kubelet-client',
  errorCode: 'Unavailable',
  message: 'no\nanswer',
});

describe('evercert logs', () => {
  it("prints a node's renewal log, the newest last, with time, source and code", async () => {
    const api = fakeApi({ listEvents: () => ({ events: [failed, issued], nextPageToken: '' }) });
    const { out, exitCode } = await run(['logs', 'node/w-1', '--tail', '20'], { api });
    assert.equal(
      out,
      '2026-06-01T11:59:00Z  certificate-renewal-worker  I  CertificateIssued kubelet-client: issued\n' +
        '2026-06-01T11:59:55Z  certificate-renewal-worker  W  RenewalFailed kubelet-client Unavailable: no\\nanswer\n',
    );
    assert.equal(exitCode, 0);
    const request = { cluster: 'demo', node: 'w-1', certificate: '', reason: '', pageSize: 20, pageToken: '', renewalLog: true };
    assert.deepEqual(api.calls[0], { method: 'listEvents', request });
  });

  it('follows: what was there, then what comes to this node, each once', async () => {
    const added = (value: Event): WatchResponse => ({ type: ChangeType.ADDED, object: { $case: 'event', value } });
    const synced: WatchResponse = { type: ChangeType.SYNCED, object: undefined };
    const elsewhere = event('3', -1, { node: 'w-2', reason: 'CertificateIssued', message: 'elsewhere' });
    const other = event('4', -1, { reason: 'FileRestored', source: '', message: 'other' });
    const api = fakeApi({ listEvents: () => ({ events: [issued], nextPageToken: '' }) }, [
      added(issued),
      synced,
      added(issued),
      added(elsewhere),
      added(other),
      added(failed),
    ]);
    const { out, exitCode } = await run(['logs', 'node', 'w-1', '-f'], { api });
    assert.deepEqual(
      out.split('\n').map((text) => text.split(': ')[1]),
      ['issued', 'no\\nanswer', undefined],
    );
    assert.equal(exitCode, 7, 'the stream ends only when the coordinator stops');
  });

  it('says so when there is none, and takes one node', async () => {
    const none = await run(['logs', 'node/w-9'], { api: fakeApi({ listEvents: () => ({ events: [], nextPageToken: '' }) }) });
    assert.deepEqual([none.exitCode, none.out, none.err], [0, '', 'No renewal log of node w-9 in cluster demo.\n']);
    for (const args of [
      ['logs', 'certificate/x'],
      ['logs', 'node'],
      ['logs', 'node', 'a', 'b'],
      ['logs', 'node/a', '--tail', '0'],
    ])
      assert.equal((await run(args, { api: fakeApi({}) })).exitCode, 2, args.join(' '));
  });
});

describe('evercert cordon and uncordon', () => {
  it('say of each node what was done, and what was so already', async () => {
    const api = fakeApi({ setNodeCordon: ({ name }) => ({ changed: name === 'w-1' }) });
    const { out } = await run(['cordon', 'w-1', 'node/w-2', '--reason', 'disk'], { api });
    assert.equal(out, 'node/w-1 cordoned\nnode/w-2 already cordoned\n');
    assert.deepEqual(api.calls[1]?.request, { cluster: 'demo', name: 'w-2', cordoned: true, reason: 'disk', duration: undefined });
    assert.equal((await run(['uncordon', 'w-1'], { api })).out, 'node/w-1 uncordoned\n');
    assert.equal((await run(['cordon', 'certificate/x'], { api })).exitCode, 2);
    const setNodeCordon = () => {
      throw new EvercertError('NotFound', 'nodes "w-9" not found in cluster demo');
    };
    assert.equal((await run(['cordon', 'w-9'], { api: fakeApi({ setNodeCordon }) })).exitCode, 4);
  });

  it('ends by itself where it is told for how long', async () => {
    const setNodeCordon = () => ({ changed: true, node: node('w-1', { cordon: { by: 'admin/eve', until: at(4 * 3600) } }) });
    const api = fakeApi({ setNodeCordon });
    const { out } = await run(['cordon', 'w-1', '--for', '4h'], { api });
    assert.equal(out, 'node/w-1 cordoned until 2026-06-01T16:00:00Z\n');
    const duration = { seconds: 14_400, nanos: 0 };
    assert.deepEqual(api.calls[0]?.request, { cluster: 'demo', name: 'w-1', cordoned: true, reason: '', duration });
    assert.equal((await run(['cordon', 'w-1', '--for', '4 hours'], { api })).exitCode, 2);
  });

  it('are seen beside the phase', async () => {
    const cordoned = node('w-1', { cordon: { by: 'admin/eve' }, status: { phase: 'Ready' } });
    const api = fakeApi({ listNodes: () => ({ nodes: [cordoned] }) });
    assert.match((await run(['get', 'nodes'], { api })).out, /w-1 +worker +Ready,Cordoned +60m/);
    assert.match((await run(['get', 'node', 'w-1', '-o', 'yaml'], { api })).out, /\n {2}cordon:\n {4}by: admin\/eve\n/);
  });
});
