import assert from 'node:assert/strict';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { backoffMs, retry } from '@evercert/shared/retry';

describe('retry', () => {
  const unavailable = (): EvercertError => new EvercertError('Unavailable', 'nobody answers');

  function setUp(failures: unknown[]) {
    const clock = new FakeClock();
    const startedMs = clock.monotonicMs();
    const calls: number[] = [];
    const work = async (): Promise<string> => {
      calls.push(clock.monotonicMs() - startedMs);
      const failure = failures.shift();
      if (failure) throw failure;
      return 'done';
    };
    return { clock, calls, work };
  }

  it('tries again after doubling waits until it succeeds', async () => {
    const { clock, calls, work } = setUp([unavailable(), unavailable(), unavailable()]);
    const result = retry(work, { clock, random: () => 0.5 });
    await clock.advance(60_000);
    assert.equal(await result, 'done');
    assert.deepEqual(calls, [0, 500, 1500, 3500]);
  });

  it('obeys the hint of the server as the least wait', async () => {
    const { clock, calls, work } = setUp([new EvercertError('Overloaded', 'busy', { retryAfterMs: 4000 })]);
    const result = retry(work, { clock, random: () => 0 });
    await clock.advance(10_000);
    await result;
    assert.deepEqual(calls, [0, 4000]);
  });

  it('does not repeat what trying again cannot mend', async () => {
    const { clock, calls, work } = setUp([new EvercertError('PermissionDenied', 'no')]);
    await assert.rejects(retry(work, { clock, random: () => 0 }), { code: 'PermissionDenied' });
    assert.equal(calls.length, 1);
  });

  it('takes a foreign error for a retryable internal one', async () => {
    const { clock, calls, work } = setUp([new TypeError('oops')]);
    const result = retry(work, { clock, random: () => 0 });
    await clock.advance(1);
    await result;
    assert.equal(calls.length, 2);
  });

  it('gives up with the last error when the tries are used up', async () => {
    const { clock, calls, work } = setUp([unavailable(), unavailable(), new EvercertError('DeadlineExceeded', 'late')]);
    const result = assert.rejects(retry(work, { clock, random: () => 0, attempts: 3 }), { code: 'DeadlineExceeded' });
    await clock.advance(10);
    await result;
    assert.equal(calls.length, 3);
  });

  it('ends its wait when the signal aborts', async () => {
    const { clock, calls, work } = setUp([unavailable(), unavailable()]);
    const abort = new AbortController();
    const result = assert.rejects(retry(work, { clock, random: () => 0.5, signal: abort.signal }), { code: 'Cancelled' });
    await clock.advance(100);
    abort.abort();
    await result;
    assert.equal(calls.length, 1);
    assert.equal(clock.pending, 0);
  });

  it('keeps each wait below the cap', () => {
    for (let attempt = 1; attempt < 2000; attempt += 1) assert.ok(backoffMs({ attempt, draw: 0.999999, capMs: 30_000 }) <= 30_000);
  });
});
