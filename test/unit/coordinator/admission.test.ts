import assert from 'node:assert/strict';
import { Admission } from '@evercert/coordinator';
import { EvercertError } from '@evercert/shared/errors';

describe('the queue in front of the signer', () => {
  it('lets so many work, so many wait, and sends the rest away at once with a time to come back', async () => {
    const admission = new Admission({ concurrency: 2, queue: 3, random: () => 0.5 });
    let finish = (): void => {};
    const gate = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const admitted = Array.from({ length: 5 }, () => admission.run(() => gate));
    assert.deepEqual(admission.stats, { waiting: 3, working: 2, shed: 0 });
    await assert.rejects(
      admission.run(() => gate),
      (error: unknown) => error instanceof EvercertError && error.code === 'Overloaded' && (error.retryAfterMs ?? 0) >= 1000,
    );
    assert.equal(admission.stats.shed, 1);
    finish();
    await Promise.all(admitted);
    assert.equal(await admission.run(async () => 'served again'), 'served again');
  });

  it('passes on what the work throws and goes on', async () => {
    const admission = new Admission({ concurrency: 1, queue: 1 });
    await assert.rejects(
      admission.run(() => Promise.reject(new Error('boom'))),
      /boom/,
    );
    assert.equal(await admission.run(async () => 1), 1);
  });

  it('never tells anybody to wait longer than a minute', async () => {
    const admission = new Admission({ concurrency: 1, queue: 0, random: () => 0.999 });
    const busy = admission.run(() => new Promise<void>((resolve) => setImmediate(resolve)));
    await assert.rejects(
      admission.run(async () => {}),
      (error: unknown) => error instanceof EvercertError && (error.retryAfterMs ?? 0) <= 60_000,
    );
    await busy;
  });
});
