import assert from 'node:assert/strict';
import { layout } from '@evercert/coordinator';
import { RotationBench } from '../../../support/rotation-bench.ts';

const dayMs = 86_400_000;

describe('what is looked after between rotations', () => {
  let bench: RotationBench;
  afterEach(() => bench.close());

  const endings = async (): Promise<string[]> =>
    (await bench.events())
      .filter(({ reason }) => reason === 'CertificateAuthorityEnding')
      .map(({ message, type }) => `${type}: ${message}`);

  async function endsIn(days: number, change: object = {}): Promise<void> {
    await bench.put(layout.authority('demo', 'cluster-ca'), {
      ...(await bench.stored()),
      notAfterMs: bench.clock.nowMs() + days * dayMs,
      ...change,
    });
    await bench.settled();
  }

  it('warns once when the end of a CA is a year away, and again at half a year, whoever leads', async () => {
    bench = await RotationBench.start();
    await bench.parts.care.look();
    assert.deepEqual(await endings(), []);
    await endsIn(360);
    await bench.parts.care.look();
    await bench.parts.care.look();
    const [first, ...more] = await endings();
    assert.match(first ?? '', /^Warning: cluster-ca of cluster demo ends 2026-12-27.*'evercert ca rotate demo --ca cluster-ca'$/);
    assert.deepEqual(more, []);
    await endsIn(180);
    await (await bench.takeOver())();
    await bench.parts.care.look();
    assert.equal((await endings()).length, 2);
  });

  it('says who has to replace a CA whose key is elsewhere, or whose root is offline', async () => {
    bench = await RotationBench.start();
    await endsIn(100, { keyId: '' });
    await bench.parts.care.look();
    assert.match((await endings())[0] ?? '', /whoever holds it has to replace it/);
    await endsIn(100, { keyId: 'demo/cluster-ca/1', root: (await bench.stored()).certificate, serial: 'aa' });
    await bench.parts.care.look();
    assert.ok((await endings()).some((text) => text.endsWith("--ca cluster-ca --intermediate'")));
  });

  it('begins a rotation by itself where the policy says so, one CA of a cluster at a time', async () => {
    bench = await RotationBench.start({ policy: { automatic: true, beforeSeconds: 400 * 86_400 } });
    await bench.parts.care.look();
    assert.deepEqual(bench.parts.records.list(''), []);
    await endsIn(300);
    await bench.put(layout.authority('demo', 'etcd-ca'), {
      ...bench.parts.model.authority('demo', 'etcd-ca'),
      notAfterMs: bench.clock.nowMs() + 300 * dayMs,
    });
    await bench.settled();
    await bench.parts.care.look();
    const [record, ...others] = bench.parts.records.list('');
    assert.deepEqual([record?.authority, record?.by, record?.reason, others.length], ['cluster-ca', 'coordinator', 'scheduled', 0]);
    await bench.ended(record!.id);
    assert.ok(bench.authority.notAfterMs > bench.clock.nowMs() + 3000 * dayMs);
    await bench.parts.care.look();
    assert.equal(bench.parts.records.list('')[0]?.authority, 'etcd-ca');
  });

  it('forgets rotations that ended more than a year ago', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate();
    const { record: ended } = await bench.ended(record.id);
    await bench.put(layout.rotation('demo', ended.id), { ...ended, endedAtMs: bench.clock.nowMs() - 401 * dayMs });
    await bench.put(layout.rotation('demo', 'ro-new'), { ...ended, id: 'ro-new' });
    await bench.settled();
    await bench.parts.care.look();
    await bench.settled();
    assert.deepEqual(
      bench.parts.records.list('').map(({ id }) => id),
      ['ro-new'],
    );
  });

  it('respects for a while that somebody has ended one', async () => {
    bench = await RotationBench.start({ policy: { automatic: true } });
    await endsIn(300);
    await bench.parts.care.look();
    const [record] = bench.parts.records.list('');
    await bench.parts.rotations.set(record!.id, { type: 'abort' }, '', 'admin/ann');
    await bench.ended(record!.id);
    await bench.parts.care.look();
    assert.equal(bench.parts.records.list('').length, 1);
    const { record: ended } = bench.view(record!.id);
    await bench.put(layout.rotation('demo', ended.id), { ...ended, endedAtMs: bench.clock.nowMs() - 8 * dayMs });
    await bench.settled();
    await bench.parts.care.look();
    assert.equal(bench.parts.records.list('').length, 2);
  });
});
