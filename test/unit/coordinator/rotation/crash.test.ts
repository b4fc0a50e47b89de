import assert from 'node:assert/strict';
import { generationsOf } from '@evercert/coordinator/ca';
import { RotationBench } from '../../../support/rotation-bench.ts';

const forward = ['preparing', 'spreading', 'activating', 'reissuing', 'retiring'];
const back = ['abort-reissuing', 'abort-retiring'];
const places = (stages: string[]): string[] =>
  stages.flatMap((stage) => ['begun', 'acted', 'done'].map((what) => `rotation-${stage}-${what}`));

describe('a leader that ends in the midst of a rotation', () => {
  let bench: RotationBench;
  afterEach(() => bench.close());

  /** The next one goes on, while the one before does not know yet. */
  async function takeOverAfter(place: string, id: string): Promise<void> {
    bench.crashAt = place;
    await bench.until(() => bench.passed.includes(place));
    const before = await bench.takeOver();
    await bench.look();
    await before();
    await bench.ended(id);
  }

  for (const place of places(forward)) {
    it(`at ${place} is followed by one that does no step twice`, async () => {
      bench = await RotationBench.start();
      const old = bench.authority;
      const { record } = await bench.rotate();
      await takeOverAfter(place, record.id);
      const after = bench.authority;
      assert.equal(bench.view(record.id).record.stage, 'Completed');
      assert.deepEqual(
        generationsOf(after).map(({ state }) => state),
        ['current', 'retired'],
      );
      assert.equal(after.bundleVersion, old.bundleVersion + 2);
      assert.deepEqual(bench.missingKeys(after), []);
      const reasons = (await bench.events()).map(({ reason }) => reason).filter((reason) => reason.startsWith('Rotation'));
      assert.equal(new Set(reasons).size, reasons.length);
    });
  }

  for (const place of places(back)) {
    it(`at ${place} is followed by one that goes back all the way`, async () => {
      bench = await RotationBench.start();
      const old = bench.authority;
      const { record } = await bench.rotate();
      await bench.reaches(record.id, 'Reissuing');
      await bench.obeyAll();
      await bench.parts.rotations.set(record.id, { type: 'abort' }, '', 'admin/ann');
      await takeOverAfter(place, record.id);
      assert.equal(bench.view(record.id).record.stage, 'Aborted');
      assert.equal(bench.authority.serial, old.serial);
      assert.deepEqual(bench.authority.bundle, old.bundle);
      assert.deepEqual(bench.missingKeys(bench.authority), []);
    });
  }
});
