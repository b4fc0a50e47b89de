import assert from 'node:assert/strict';
import { type Outlet, type Report, Reporter } from '@evercert/agent/connection';
import { EventQueue } from '@evercert/agent/events';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';

type Message = Parameters<Outlet['send']>[0];

class FakeOutlet implements Outlet {
  writable = true;
  readonly sent: Message[] = [];
  send(message: Message): void {
    this.sent.push(message);
  }
  count(kind: Message['$case']): number {
    return this.sent.filter(({ $case }) => $case === kind).length;
  }
}

function setUp() {
  const clock = new FakeClock();
  let ids = 0;
  const events = new EventQueue({
    clock,
    logger: silentLogger,
    newId: () => {
      ids += 1;
      return `id-${ids}`;
    },
  });
  const report: Report = {
    certificates: [],
    bundles: [],
    keyPairs: [],
    revocationLists: [],
    components: [],
    appliedRevision: '7',
    identitySerial: '',
    controlCaPins: [],
  };
  const reporter = new Reporter({ clock, random: () => 0.5, events, report: () => report });
  events.onEvent(() => reporter.flush());
  const happen = (message: string): void => events.record({ reason: 'FileRestored', type: 'Warning', message });
  const messages = (outlet: FakeOutlet): string[] =>
    outlet.sent.flatMap((message) => (message.$case === 'event' ? [message.value.message] : []));
  return { clock, events, reporter, happen, messages };
}

describe('the reporter', () => {
  it('sends a heartbeat at the interval of the coordinator', async () => {
    const { clock, reporter } = setUp();
    const outlet = new FakeOutlet();
    reporter.attach(outlet, 2000);
    await clock.advance(20_500);
    assert.equal(outlet.count('heartbeat'), 10);
  });

  it('reports at once, then soon after changes as one, and every 30 seconds without any', async () => {
    const { clock, reporter } = setUp();
    const outlet = new FakeOutlet();
    reporter.attach(outlet, 10_000);
    await clock.advance(0);
    assert.equal(outlet.count('report'), 1);
    for (let change = 0; change < 10; change += 1) {
      reporter.changed();
      await clock.advance(10);
    }
    await clock.advance(200);
    assert.equal(outlet.count('report'), 2);
    await clock.advance(61_000);
    assert.equal(outlet.count('report'), 4);
  });

  it('sends nothing to an outlet that is full, and goes on when it drains', async () => {
    const { clock, reporter, happen, messages } = setUp();
    const outlet = new FakeOutlet();
    outlet.writable = false;
    reporter.attach(outlet, 10_000);
    happen('a');
    await clock.advance(500);
    assert.equal(outlet.sent.length, 0);
    outlet.writable = true;
    reporter.flush();
    await clock.advance(1000);
    assert.deepEqual(messages(outlet), ['a']);
    assert.equal(outlet.count('report'), 1);
  });

  it('stops when it is detached', async () => {
    const { clock, reporter } = setUp();
    reporter.attach(new FakeOutlet(), 1000);
    reporter.detach();
    assert.equal(clock.pending, 0);
  });
});

describe('events', () => {
  it('wait while there is no connection and go out in their order', async () => {
    const { clock, reporter, happen, messages } = setUp();
    for (let count = 0; count < 100; count += 1) happen(`event ${count}`);
    const outlet = new FakeOutlet();
    reporter.attach(outlet, 10_000);
    await clock.advance(0);
    assert.deepEqual(
      messages(outlet),
      Array.from({ length: 100 }, (_, count) => `event ${count}`),
    );
  });

  it('are sent again, with the same id, on the next connection when the first broke soon', async () => {
    const { clock, events, reporter, happen } = setUp();
    const first = new FakeOutlet();
    reporter.attach(first, 60_000);
    happen('a');
    await clock.advance(1000);
    const second = new FakeOutlet();
    reporter.attach(second, 60_000);
    const ids = [first, second].map(({ sent }) => sent.flatMap((message) => (message.$case === 'event' ? [message.value.id] : [])));
    assert.deepEqual(ids, [['id-1'], ['id-1']]);
    await clock.advance(61_000);
    assert.equal(events.size, 0);
    const third = new FakeOutlet();
    reporter.attach(third, 60_000);
    assert.equal(third.count('event'), 0);
  });

  it('are bounded: the oldest go first', () => {
    const { events, happen, reporter, messages } = setUp();
    for (let count = 0; count < 600; count += 1) happen(`event ${count}`);
    assert.equal(events.size, 512);
    assert.equal(events.dropped, 88);
    const outlet = new FakeOutlet();
    reporter.attach(outlet, 10_000);
    assert.equal(messages(outlet)[0], 'event 88');
  });
});
