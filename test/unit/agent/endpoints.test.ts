/** Which coordinator is tried when, and what is remembered of those that were named. */
import assert from 'node:assert/strict';
import { Endpoints } from '@evercert/agent/connection';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { memoryFolder } from './support.ts';

const three = ['a.example:7443', 'b.example:7443', 'c.example:7443'];

describe('the endpoints of an agent', () => {
  const clock = new FakeClock(Date.parse('2026-01-01T00:00:00Z'));

  function endpointsOf(configured: readonly string[], nodeName = 'worker-1', folder = memoryFolder()): Endpoints {
    return new Endpoints({ configured, nodeName, folder, clock, logger: silentLogger });
  }

  function firstOf(configured: readonly string[], count = 3000): Map<string, number> {
    const counts = new Map<string, number>();
    for (let node = 0; node < count; node += 1) {
      const { endpoint } = endpointsOf(configured, `worker-${node}`).next();
      counts.set(endpoint, (counts.get(endpoint) ?? 0) + 1);
    }
    return counts;
  }

  it('are preferred by about a third of the nodes each, whatever their order in the configuration', () => {
    for (const count of firstOf(three).values()) assert.ok(count > 900 && count < 1100, String(count));
    assert.deepEqual(firstOf(three), firstOf(three.toReversed()));
  });

  it('keep nearly all of their nodes when another one comes: it takes its share evenly', () => {
    const four = [...three, 'd.example:7443'];
    const moved = Array.from({ length: 1000 }, (_, node) => `worker-${node}`).filter((name) => {
      const [before, after] = [endpointsOf(three, name).next().endpoint, endpointsOf(four, name).next().endpoint];
      assert.ok(after === before || after === 'd.example:7443');
      return after !== before;
    });
    assert.ok(moved.length > 200 && moved.length < 300, String(moved.length));
  });

  it('are left alone for a while once they failed, longer each time, unless there is no other', async () => {
    const endpoints = endpointsOf(three);
    const preferred = endpoints.next().endpoint;
    endpoints.failed(preferred, { draw: 1 });
    assert.notEqual(endpoints.next().endpoint, preferred);
    assert.equal(endpoints.next().waitMs, 0);
    assert.ok(!endpoints.free('').includes(preferred));
    await clock.advance(1001);
    assert.ok(endpoints.free('').includes(preferred));
    // Those that never failed are still worth more, for who has no connection.
    assert.notEqual(endpoints.next().endpoint, preferred);
    for (const endpoint of three) endpoints.failed(endpoint, { draw: 1, hintMs: 5000 });
    assert.equal(endpoints.next().waitMs, 6000);
    endpoints.worked(preferred);
    assert.deepEqual(endpoints.next(), { endpoint: preferred, waitMs: 0 });
  });

  it('obey a hint to wait for minutes, and no longer one', () => {
    const endpoints = endpointsOf(['a.example:7443']);
    endpoints.failed('a.example:7443', { draw: 0, hintMs: 24 * 3_600_000 });
    assert.equal(endpoints.next().waitMs, 300_000);
  });

  it('are learned beside the configured ones, for the next start too, and forgotten when nobody has named them for a week', async () => {
    const folder = memoryFolder();
    const endpoints = endpointsOf(['a.example:7443'], 'worker-1', folder);
    endpoints.learn(['b.example:7443', 'C.example:7443']);
    await endpoints.flush();
    const later = endpointsOf(['a.example:7443'], 'worker-1', folder);
    await later.load();
    assert.deepEqual([...later.all()].sort(), three);
    await clock.advance(6 * 86_400_000);
    later.learn(['b.example:7443']);
    assert.deepEqual([...later.all()].sort(), three);
    await clock.advance(2 * 86_400_000);
    later.learn(['b.example:7443']);
    assert.deepEqual([...later.all()].sort(), ['a.example:7443', 'b.example:7443']);
  });

  it('are not learned from what is no endpoint, nor beyond a bound', () => {
    const endpoints = endpointsOf(['a.example:7443']);
    endpoints.learn(['', 'unix:/run/x.sock', 'b.example', 'b.example:0', '0.0.0.0:7443', '[::]:7443', 'b.example:99999', 'x'.repeat(300)]);
    assert.deepEqual(endpoints.all(), ['a.example:7443']);
    for (let turn = 0; turn < 10; turn += 1) {
      endpoints.learn(Array.from({ length: 40 }, (_, index) => `n${turn}-${index}.example:7443`));
    }
    assert.equal(endpoints.all().length, 17);
    assert.ok(endpoints.all().includes('a.example:7443'));
  });

  it('survive a damaged file: the configured ones are used', async () => {
    for (const content of ['{', '{"version":2}', '{"version":1,"endpoints":[{"endpoint":"unix:/x","namedAtMs":0}]}']) {
      const folder = memoryFolder();
      folder.files.set('endpoints.json', Buffer.from(content));
      const endpoints = endpointsOf(['a.example:7443'], 'worker-1', folder);
      await endpoints.load();
      assert.deepEqual(endpoints.all(), ['a.example:7443']);
    }
  });
});
