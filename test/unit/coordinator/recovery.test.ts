import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventRecorder } from '@evercert/coordinator';
import { ClockMark, Nonces, Refusals } from '@evercert/coordinator/recovery';
import { defaultWindowMs, RepairWindows } from '@evercert/coordinator/repair';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { type Logger, silentLogger } from '@evercert/shared/logging';
import { withCode } from '../../support/node-calls.ts';

const minute = 60_000;

describe('the nonces of recoveries', () => {
  let count = 0;
  const randomBytes = (size: number): Buffer => {
    count += 1;
    const bytes = Buffer.alloc(size);
    bytes.writeUInt32BE(count);
    return bytes;
  };
  const setUp = (capacity?: number) => {
    const clock = new FakeClock();
    return { clock, nonces: new Nonces({ clock, randomBytes, ...(capacity !== undefined && { capacity }) }) };
  };

  it('have 32 bytes and are good once', () => {
    const { nonces } = setUp();
    const nonce = nonces.give('192.0.2.1');
    assert.equal(nonce.length, 32);
    assert.equal(nonces.use(nonce), true);
    assert.equal(nonces.use(nonce), false);
  });

  it('are good for a minute by the monotonic clock, whatever the wall clock does', async () => {
    const { clock, nonces } = setUp();
    const [first, second] = [nonces.give('192.0.2.1'), nonces.give('192.0.2.1')];
    await clock.step(10 * 86_400_000);
    await clock.advance(minute - 1);
    assert.equal(nonces.use(first), true);
    await clock.step(-20 * 86_400_000);
    await clock.advance(1);
    assert.equal(nonces.use(second), false);
  });

  it('are forgotten when they are old, so that memory stays flat', async () => {
    const { clock, nonces } = setUp();
    for (let i = 0; i < 50; i++) nonces.give('192.0.2.1');
    await clock.advance(minute);
    nonces.give('192.0.2.1');
    assert.equal(nonces.size, 1);
  });

  it('are bounded in all, and of one source, without harm to others', async () => {
    const { clock, nonces } = setUp(500);
    const takeAll = (source: string): number => {
      for (let i = 0; ; i++) {
        try {
          nonces.give(source);
        } catch (error) {
          assert.ok(error instanceof EvercertError && error.code === 'Overloaded' && (error.retryAfterMs ?? 0) > 0);
          return i;
        }
      }
    };
    const mine = takeAll('192.0.2.1');
    assert.ok(mine > 10 && mine < 500);
    assert.ok(nonces.give('192.0.2.2'));
    await clock.advance(1000);
    assert.ok(nonces.give('192.0.2.1'), 'a second later it may ask again');
    for (let i = 3; nonces.size < 500; i++) nonces.give(`198.51.100.${i % 50}`);
    assert.throws(() => nonces.give('192.0.2.1'), withCode('Overloaded'));
    assert.equal(nonces.size, 500);
  });

  it('are taken from whoever holds most when all are out, and from nobody who holds as few', () => {
    const { nonces } = setUp(4);
    const greedy = [1, 2, 3].map(() => nonces.give('192.0.2.1'));
    const other = nonces.give('192.0.2.2');
    const honest = nonces.give('198.51.100.1');
    assert.equal(nonces.size, 4);
    assert.throws(() => nonces.give('198.51.100.1'), withCode('Overloaded'));
    assert.deepEqual(
      [...greedy, other, honest].map((nonce) => nonces.use(nonce)),
      [false, true, true, true, true],
    );
    assert.equal(nonces.size, 0);
  });
});

describe('repair windows and the mark of the clock', () => {
  let folder: string;
  let store: Store;
  let clock: FakeClock;
  let mark: ClockMark;
  let windows: RepairWindows;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evercert-windows-'));
    clock = new FakeClock();
    store = await openSqliteStore({ file: join(folder, 'store.db'), clock, logger: silentLogger });
    await startAll();
  });
  afterEach(async () => {
    await stopAll();
    await store.close();
    await rm(folder, { recursive: true });
  });

  async function startAll(): Promise<void> {
    mark = new ClockMark({ store, clock, logger: silentLogger });
    await mark.start();
    const events = new EventRecorder(store, clock, silentLogger);
    windows = new RepairWindows({ store, clock, logger: silentLogger, events, mark });
    await windows.start();
  }
  async function stopAll(): Promise<void> {
    await windows.stop();
    await mark.stop();
  }

  const open = (durationMs = defaultWindowMs) => windows.open('demo', 'cp-1', { durationMs, by: 'admin/a', reason: 'test' });
  /** Real writes go on behind the fake clock. */
  async function written(leastMs: number): Promise<void> {
    for (;;) {
      const entry = await store.get('/evercert/v1/clock-mark');
      if (entry && JSON.parse(Buffer.from(entry.value).toString()).latestMs >= leastMs) return;
    }
  }
  const isOpen = (): boolean => windows.isOpen('demo', 'cp-1');

  it('are open for one node, from now until their time is over', async () => {
    assert.equal(isOpen(), false);
    await open();
    assert.equal(isOpen(), true);
    assert.equal(windows.isOpen('demo', 'cp-2'), false);
    assert.equal(windows.isOpen('other', 'cp-1'), false);
    await clock.step(defaultWindowMs - 1);
    assert.equal(isOpen(), true);
    await clock.step(1);
    assert.equal(isOpen(), false);
  });

  it('outlive a restart, and their end does too', async () => {
    await open();
    await stopAll();
    await startAll();
    assert.equal(isOpen(), true);
    await stopAll();
    await clock.step(defaultWindowMs);
    await startAll();
    assert.equal(isOpen(), false);
  });

  it('are closed by hand', async () => {
    await open();
    await windows.close('demo', 'cp-1', 'admin/a', 'test');
    assert.equal(isOpen(), false);
    await windows.close('demo', 'cp-1', 'admin/a', 'nothing is open');
  });

  it('keep their beginning and get the later end when opened again', async () => {
    const first = await open(60 * minute);
    await clock.step(minute);
    const second = await open(minute);
    assert.deepEqual([second.openedAtMs, second.expiresAtMs], [first.openedAtMs, first.expiresAtMs]);
  });

  it('do not open again when the clock is moved back, and none is opened then', async () => {
    await open();
    await clock.step(defaultWindowMs + 5 * minute);
    assert.equal(isOpen(), false);
    await clock.step(-defaultWindowMs);
    assert.equal(isOpen(), false);
    await assert.rejects(open(), withCode('FailedPrecondition'));
    await stopAll();
    await startAll();
    assert.equal(isOpen(), false);
    assert.throws(() => mark.check(), withCode('FailedPrecondition'));
    await clock.step(defaultWindowMs);
    mark.check();
  });

  it('bear a correction of the clock by less than two minutes', async () => {
    await open();
    await clock.step(-minute);
    assert.equal(isOpen(), true);
    mark.check();
  });

  it('have their mark raised every minute, so that a crash forgets no more than that', async () => {
    for (let i = 0; i < 5; i++) {
      await clock.advance(minute);
      await written(clock.nowMs() - 1000);
    }
    const other = new ClockMark({ store, clock, logger: silentLogger });
    await clock.step(-4 * minute);
    await other.start();
    assert.ok(other.behindMs() > 2 * minute, `${other.behindMs()} ms`);
    await other.stop();
  });
});

describe('the refusals of recoveries', () => {
  function setUp() {
    const told: { reason: string; message: string; errorCode: string | undefined }[] = [];
    const alarms: string[] = [];
    const clock = new FakeClock();
    const logger: Logger = { ...silentLogger, error: (message) => void alarms.push(message), child: () => logger };
    const events = {
      record: (event: { reason: string; message: string; errorCode?: string }) => void told.push({ errorCode: undefined, ...event }),
    };
    const refusals = new Refusals({ clock, logger, events: events as unknown as EventRecorder });
    return { clock, refusals, told, alarms };
  }
  const node = { cluster: 'demo', name: 'cp-1' };
  const error = new EvercertError('RecoveryNotOpen', 'no window', { retryAfterMs: 3000 });

  it('are one event a minute for the same node and code, with how many there were', async () => {
    const { clock, refusals, told } = setUp();
    for (let i = 0; i < 20; i++) {
      refusals.tell({ node, serial: '0a', peer: '192.0.2.1:1234', error });
      await clock.advance(3000);
    }
    assert.equal(told.length, 1);
    assert.match(told[0]?.message ?? '', /node cp-1, asked from 192\.0\.2\.1:1234: no window/);
    refusals.tell({ node, serial: '0a', peer: '192.0.2.1:1234', error });
    assert.match(told[1]?.message ?? '', /19 times more before/);
    refusals.tell({ node, serial: '0a', peer: '192.0.2.1:1234', error: new EvercertError('Revoked', 'revoked') });
    assert.equal(told.length, 3);
    assert.equal(refusals.last('demo', 'cp-1')?.error.code, 'Revoked');
  });

  it('raise the alarm for an older identity', () => {
    const { refusals, told, alarms } = setUp();
    const stale = new EvercertError('RecoveryRefused', 'older', { metadata: { reason: 'StaleIdentityUsed' } });
    refusals.tell({ node, serial: '0a', peer: '192.0.2.1:1234', error: stale });
    assert.equal(told[0]?.reason, 'StaleIdentityUsed');
    assert.match(alarms[0] ?? '', /ALARM/);
  });

  it('of strangers cannot fill the event log', () => {
    const { refusals, told } = setUp();
    const stranger = new EvercertError('RecoveryRefused', 'no');
    for (let i = 0; i < 5000; i++)
      refusals.tell({ node: undefined, serial: undefined, peer: `198.51.${i >> 8}.${i & 255}:1`, error: stranger });
    assert.ok(told.length <= 100, `${told.length} events`);
  });

  it('tell how many nodes wait', async () => {
    const { clock, refusals } = setUp();
    for (let i = 0; i < 7; i++) refusals.tell({ node: { cluster: 'demo', name: `cp-${i}` }, serial: '', peer: 'p:1', error });
    assert.equal(refusals.waiting(30_000), 7);
    await clock.advance(31_000);
    assert.equal(refusals.waiting(30_000), 0);
    refusals.forget('demo', 'cp-1');
    assert.equal(refusals.last('demo', 'cp-1'), undefined);
  });
});
