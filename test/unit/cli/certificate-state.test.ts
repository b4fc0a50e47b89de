import assert from 'node:assert/strict';
import { type Certificate, ChangeType, type Node, type WatchResponse } from '@evercert/proto';
import { at, certificate, fakeApi, node, run } from './support.ts';

const serial = '0a'.repeat(16);
const reporting = (state: string, fields: object = {}): Node =>
  node('w-1', { status: { identitySerial: 'ee', certificates: [{ name: 'kubelet', state, serial, ...fields }] } });
const stateOf = async (issued: Certificate, nodes: Node[]): Promise<string> => {
  const api = fakeApi({ listCertificates: () => ({ certificates: [issued], nextPageToken: '' }), listNodes: () => ({ nodes }) });
  const { out } = await run(['get', 'certificates', '--all', '--no-headers'], { api });
  return out.split(/ {3,}/)[4] ?? '';
};

describe('the state of a certificate', () => {
  const kubelet = certificate('w-1', 'kubelet');

  it('is what its node reports of it', async () => {
    for (const state of ['Ready', 'RenewalFailing', 'Failed']) assert.equal(await stateOf(kubelet, [reporting(state)]), state);
    assert.equal(await stateOf(certificate('w-1', 'identity', { serial: 'ee' }), [reporting('Ready')]), 'Ready');
  });

  it('is what the coordinator knows better', async () => {
    const revokedBy = [{ object: 'incident', entry: 0, kind: 'DNS', value: 'x' }];
    assert.equal(await stateOf(certificate('w-1', 'kubelet', { current: false }), [reporting('Ready')]), 'Superseded');
    assert.equal(await stateOf(certificate('w-1', 'kubelet', { revokedBy }), [reporting('Ready')]), 'Revoked');
    assert.equal(await stateOf(certificate('w-1', 'kubelet', { notAfter: at(-1), revokedBy }), [reporting('Ready')]), 'Expired');
    assert.equal(await stateOf(kubelet, [reporting('Ready', { serial: 'bb' })]), 'NotInstalled');
    assert.equal(await stateOf(certificate('w-1', 'identity', { serial: 'dd' }), [reporting('Ready')]), 'NotInstalled');
  });

  it('is unknown where the node is gone, or has not reported', async () => {
    assert.equal(await stateOf(kubelet, []), 'Unknown');
    assert.equal(await stateOf(kubelet, [node('w-1')]), 'Unknown');
  });

  it('is watched: a node that reports another state of its certificate makes a line', async () => {
    const ofNode = (value: Node, type: ChangeType = ChangeType.MODIFIED): WatchResponse => ({ type, object: { $case: 'node', value } });
    const api = fakeApi({}, [
      ofNode(reporting('Ready'), ChangeType.ADDED),
      { type: ChangeType.ADDED, object: { $case: 'certificate', value: kubelet } },
      { type: ChangeType.SYNCED, object: undefined },
      ofNode(reporting('Ready')),
      ofNode(reporting('RenewalFailing')),
      ofNode(node('w-2')),
      { type: ChangeType.MODIFIED, object: { $case: 'certificate', value: certificate('w-1', 'kubelet', { serial: 'bb' }) } },
      ofNode(reporting('Ready'), ChangeType.DELETED),
    ]);
    const { out } = await run(['get', 'certificates', '-w'], { api });
    assert.deepEqual(
      out.split('\n').map((text) => text.split(/ {3,}/)[4]),
      ['STATE', 'Ready', 'RenewalFailing', 'NotInstalled', 'Unknown', undefined],
    );
    assert.deepEqual(api.calls[0]?.request, { cluster: 'demo', resources: ['certificates', 'nodes'] });
  });
});
