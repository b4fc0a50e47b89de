import assert from 'node:assert/strict';
import { CoordinatorInstance } from '@evercert/proto';
import { at, fakeApi, run } from './support.ts';

const one = CoordinatorInstance.fromPartial({
  id: 'c1-aa',
  address: 'one.example:7443',
  version: '0.1.0',
  startedAt: at(-300),
  leader: true,
  nodes: 67,
});
const two = CoordinatorInstance.fromPartial({ id: 'c2-bb', address: 'two.example:7443', version: '0.1.0', startedAt: at(-60) });
const api = () => fakeApi({ listCoordinators: () => ({ coordinators: [two, one] }) });

describe('evercert get coordinators', () => {
  it('shows who leads and how many nodes each has, whatever the cluster of the context', async () => {
    const { out } = await run(['get', 'coordinators'], { api: api() });
    assert.equal(
      out,
      'ADDRESS            ROLE     NODES   AGE\none.example:7443   leader   67      5m\ntwo.example:7443   -        0       60s\n',
    );
  });

  it('shows version and id where there is room, and all of it as an object', async () => {
    const wide = await run(['get', 'coordinators', 'two.example:7443', '-o', 'wide'], { api: api() });
    assert.match(wide.out, /VERSION {3}ID\ntwo\.example:7443 .* 0\.1\.0 {5}c2-bb\n$/);
    const json = await run(['get', 'coordinator/c1-aa', '-o', 'json'], { api: api() });
    const { kind, metadata, status } = JSON.parse(json.out);
    assert.deepEqual([kind, metadata.name, status.leader, status.nodes], ['Coordinator', 'one.example:7443', true, 67]);
    const yaml = await run(['get', 'coord', '-o', 'yaml'], { api: api() });
    assert.match(yaml.out, /leader: false/);
  });

  it('is described, and completed by address', async () => {
    const { out } = await run(['describe', 'coordinator', 'one.example:7443'], { api: api() });
    assert.match(out, /Leader: +yes: it runs the controllers\nNodes: +67 connected\n/);
    const names = await run(['__complete', 'get', 'coordinators', 't'], { api: api() });
    assert.equal(names.out, 'two.example:7443\n');
  });
});
