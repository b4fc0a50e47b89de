/** Calls that any coordinator may answer: joining, and coming back on an expired identity. */
import assert from 'node:assert/strict';
import { firstThatAnswers } from '@evercert/agent/connection';
import { type ErrorCode, EvercertError } from '@evercert/shared/errors';

describe('a call that any coordinator may answer', () => {
  async function ask(errors: (EvercertError | undefined)[], deadlineMs = 20_000) {
    const asked: string[] = [];
    const failed: string[] = [];
    const deadlines: number[] = [];
    const endpoints = { order: () => errors.map((_, index) => `c${index}`), failed: (endpoint: string) => void failed.push(endpoint) };
    const answer = firstThatAnswers(
      { endpoints, random: () => 0 },
      async (endpoint, limits) => {
        asked.push(endpoint);
        deadlines.push(limits.deadlineMs);
        const error = errors[asked.length - 1];
        if (error) throw error;
        return endpoint;
      },
      { deadlineMs },
    );
    const result = await answer.catch((error: unknown) => error as EvercertError);
    return { asked, failed, deadlines, result };
  }
  const error = (code: ErrorCode, retryAfterMs?: number): EvercertError =>
    new EvercertError(code, code, retryAfterMs === undefined ? {} : { retryAfterMs });

  it('goes to the next one while one is away, overloaded, without its store, or somebody else', async () => {
    const codes = ['Unavailable', 'DeadlineExceeded', 'Overloaded', 'StoreFailure', 'PinMismatch', 'InvalidCertificate'] as const;
    const { asked, failed, result } = await ask([...codes.map((code) => error(code)), undefined]);
    assert.equal(result, 'c6');
    assert.equal(asked.length, 7);
    assert.equal(failed.length, 6);
  });

  it('ends with what a coordinator says of the node, and asks no other', async () => {
    for (const code of ['InvalidToken', 'Revoked', 'RecoveryNotOpen', 'KeyInUse'] as const) {
      const { asked, failed, result } = await ask([error('Unavailable'), error(code), undefined]);
      assert.equal((result as EvercertError).code, code);
      assert.deepEqual([asked.length, failed.length], [2, 1]);
    }
  });

  it('obeys a wish to wait only where no other coordinator answers', async () => {
    const { result } = await ask([error('Unavailable'), error('Overloaded', 5000), error('DeadlineExceeded')]);
    assert.equal((result as EvercertError).code, 'Overloaded');
    assert.equal((result as EvercertError).retryAfterMs, 5000);
  });

  it('gives one that says nothing less time while there is another', async () => {
    const { deadlines } = await ask([error('DeadlineExceeded'), error('DeadlineExceeded')]);
    assert.deepEqual(deadlines, [8000, 20_000]);
  });
});
