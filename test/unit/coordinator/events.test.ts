import assert from 'node:assert/strict';
import { EventRecorder } from '@evercert/coordinator';
import type { Operation, Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';

describe('events that strangers can cause', () => {
  let clock: FakeClock;
  let recorder: EventRecorder;
  let keys: string[];
  beforeEach(() => {
    clock = new FakeClock();
    keys = [];
    const store: Pick<Store, 'transact'> = {
      transact: async (_compares, operations: readonly Operation[]) => {
        for (const operation of operations) if (operation.type === 'put') keys.push(operation.key);
        return { succeeded: true, revision: 1 };
      },
    };
    recorder = new EventRecorder(store as Store, clock, silentLogger);
  });
  const refuse = (party: string, ...what: string[]): void =>
    recorder.recordOncePerMinute(party, what, { actor: party, reason: 'JoinRefused', warning: true, message: 'refused' });

  it('cost the store one write a minute, however often the same thing happens', async () => {
    for (let i = 0; i < 1000; i++) refuse('anonymous', '192.0.2.1', 'InvalidToken');
    assert.equal(keys.length, 1);
    await clock.advance(60_000);
    refuse('anonymous', '192.0.2.1', 'InvalidToken');
    assert.equal(new Set(keys).size, 2);
  });

  it('are a hundred a minute at most from one party, whatever addresses or names it makes up', async () => {
    for (let i = 0; i < 5000; i++) refuse('anonymous', `2001:db8::${i.toString(16)}`, 'InvalidToken');
    assert.equal(keys.length, 100);
    refuse('node/demo/cp-1', 'apiserver', 'Revoked');
    assert.equal(keys.length, 101);
    await clock.advance(60_000);
    refuse('anonymous', '2001:db8::1', 'InvalidToken');
    assert.equal(keys.length, 102);
  });

  it('have ids that tell their age, and one id for the same thing in a minute also after a restart', () => {
    refuse('anonymous', '192.0.2.1', 'InvalidToken');
    assert.match(keys[0] ?? '', /\/\d{13}-[0-9a-f]{16}$/);
  });
});
