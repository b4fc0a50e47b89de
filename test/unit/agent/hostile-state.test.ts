/** What a coordinator that has gone bad could send, or the cache on disk could hold. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { desiredStateFromProto } from '@evercert/agent/connection';
import { createStateFolder } from '@evercert/agent/state';
import { DesiredBundle, DesiredKeyPair, DesiredState } from '@evercert/proto';

describe('a desired state from a hostile coordinator', () => {
  const file = (path: string, mode = 0o600) => ({ path, mode, owner: '', group: '' });
  const keyPair = (name: string, mode = 0o600): DesiredKeyPair =>
    DesiredKeyPair.fromPartial({ name, version: '1', privateKey: file('/pki/sa.key', mode), publicKey: file('/pki/sa.pub') });
  const bundle = (signal: string): DesiredBundle =>
    DesiredBundle.fromPartial({
      name: 'ca',
      issuer: 'cluster-ca',
      version: 1,
      file: file('/pki/ca.crt', 0o644),
      reload: { kind: { $case: 'signal', value: { pidPath: '/run/x.pid', signal } } },
    });
  const notUnderstood = (state: Partial<DesiredState>): number =>
    desiredStateFromProto(DesiredState.fromPartial(state)).notUnderstood.length;

  for (const name of ['../../../etc/cron.d/x', '/etc/x', '..', '', 'a/b', 'a\0b', 'A', 'x'.repeat(64)]) {
    it(`is not believed a name that would be a place: ${JSON.stringify(name.slice(0, 30))}`, () => {
      const { keyPairs, notUnderstood: refused } = desiredStateFromProto(
        DesiredState.fromPartial({ keyPairs: [keyPair(name), keyPair('sa')] }),
      );
      assert.deepEqual([keyPairs.map((pair) => pair.name), refused.length], [['sa'], 1]);
    });
  }

  it('makes no file a program, nor writable by others', () => {
    for (const mode of [0o4644, 0o2600, 0o755, 0o622, 0o666, 0o10600]) assert.equal(notUnderstood({ keyPairs: [keyPair('sa', mode)] }), 1);
    for (const mode of [0o600, 0o640, 0o400]) assert.equal(notUnderstood({ keyPairs: [keyPair('sa', mode)] }), 0);
  });

  it('sends no signal that is not one for reloading', () => {
    assert.deepEqual(
      ['SIGKILL', 'SIGSTOP', '9', ''].map((signal) => notUnderstood({ bundles: [bundle(signal)] })),
      [1, 1, 1, 1],
    );
    assert.equal(notUnderstood({ bundles: [bundle('SIGHUP')] }), 0);
  });
});

describe('the state folder', () => {
  it('is left by no name', async () => {
    const outer = await mkdtemp(join(tmpdir(), 'evercert-state-'));
    try {
      const folder = createStateFolder(join(outer, 'state'));
      for (const name of ['../x', 'key-pairs/../../x', '/tmp/x', '..', '', 'a/./b', 'a\0b']) {
        await assert.rejects(folder.write(name, 'x'), { code: 'InvalidArgument' });
        await assert.rejects(folder.read(name), { code: 'InvalidArgument' });
        await assert.rejects(folder.remove(name), { code: 'InvalidArgument' });
      }
      assert.equal(existsSync(join(outer, 'x')), false);
      await folder.write('key-pairs/sa.json', 'x');
      assert.equal((await folder.read('key-pairs/sa.json'))?.toString(), 'x');
    } finally {
      await rm(outer, { recursive: true });
    }
  });
});
