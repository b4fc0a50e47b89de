import assert from 'node:assert/strict';
import { nodePhases } from '@evercert/coordinator';
import { decide, type ReplacementFacts, type ReplacementQuestion, reconsider } from '@evercert/coordinator/replacement';
import { defaultReplacementPolicy, replacementModes } from '@evercert/shared/manifest';
import fc from 'fast-check';
import { hour, minute, now } from '../../../support/replacement.ts';

const ago = fc.integer({ min: -2 * 60, max: 200 * 60 }).map((minutes) => now - minutes * minute);
const rarely = <T>(value: T, other: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: other });
const expired = fc
  .record({ endMs: ago, lifeMs: fc.integer({ min: 0, max: 40 * hour }) })
  .map(({ endMs, lifeMs }) => ({ name: 'x', dueMs: endMs - lifeMs, endMs }));
const replacing = rarely<ReplacementFacts['replacing']>(
  undefined,
  fc.constantFrom('rp-1', 'rp-2').map((id) => ({ id, step: 'Drain' })),
);

const node = fc.record({
  role: rarely<ReplacementFacts['role']>('worker', fc.constant('control-plane')),
  labels: fc.constant({}),
  joined: rarely(true, fc.boolean()),
  phase: fc.constantFrom(...nodePhases, 'Ready' as const, 'Ready' as const, 'Expired' as const),
  phaseMessage: fc.constant(''),
  expired: fc.oneof(fc.constant([]), fc.array(expired, { maxLength: 3 })),
  failure: fc.constant(''),
  cordon: rarely<ReplacementFacts['cordon']>(undefined, fc.constant({ by: 'a', reason: '' })),
  repairing: rarely(false, fc.boolean()),
  refusedInFuture: rarely('', fc.constant('entry 1 of x')),
  replacing,
});

const questions: fc.Arbitrary<ReplacementQuestion> = fc.record({
  cluster: fc.constant('demo'),
  policy: fc
    .record({
      provisioner: rarely('machines', fc.constant('')),
      mode: rarely<ReplacementQuestion['policy']['mode']>('active', fc.constantFrom(...replacementModes)),
      graceSeconds: fc.constantFrom(1, 600, 7200),
      maxUnhealthy: fc.constantFrom('1', '5', '40%', '100%', 'x'),
      maxConcurrent: fc.integer({ min: 1, max: 4 }),
      maxPerHour: fc.integer({ min: 1, max: 6 }),
    })
    .map((policy) => ({ ...defaultReplacementPolicy, ...policy })),
  provisionerKnown: rarely(true, fc.boolean()),
  pause: rarely<ReplacementQuestion['pause']>(undefined, fc.constant({ by: 'a', reason: '', scope: 'all' as const })),
  availability: fc.record({
    healthySinceMs: fc.oneof(
      { weight: 6, arbitrary: ago as fc.Arbitrary<number | undefined> },
      { weight: 1, arbitrary: fc.constant(undefined) },
    ),
    problem: rarely('', fc.constant('x')),
    outages: fc.array(
      fc.tuple(ago, ago).map(([a, b]) => ({ fromMs: Math.min(a, b), untilMs: Math.max(a, b), why: '' })),
      { maxLength: 3 },
    ),
  }),
  nodes: fc.array(node, { maxLength: 12 }).map((nodes) => nodes.map((one, i) => ({ ...one, name: `n-${i}` }))),
  history: fc.record({
    running: fc.array(
      fc
        .record({ id: fc.constantFrom('rp-1', 'rp-2', 'rp-3'), node: fc.constantFrom('n-0', 'n-1', 'gone'), startedAtMs: ago })
        .chain((one) =>
          rarely<number | undefined>(undefined, ago).map((until) => (until === undefined ? one : { ...one, backingOffUntilMs: until })),
        ),
      { maxLength: 2 },
    ),
    startedAtMs: fc.array(ago, { maxLength: 6 }),
  }),
  nowMs: fc.constant(now),
});

function holds(predicate: (asked: ReplacementQuestion) => void): void {
  fc.assert(fc.property(questions, predicate), { numRuns: 1500 });
}

const find = (asked: ReplacementQuestion, name: string): ReplacementFacts =>
  asked.nodes.find((one) => one.name === name) as ReplacementFacts;
const runningIn = ({ history, nodes }: ReplacementQuestion): number =>
  new Set([...history.running.map(({ id }) => id), ...nodes.flatMap((one) => one.replacing?.id ?? [])]).size;

describe('whatever is asked, the decision on replacements', () => {
  it('does begin with some, so that what follows means something', () => {
    const begun = fc.sample(questions, { numRuns: 2000, seed: 1 }).filter((asked) => decide(asked).start.length > 0);
    assert.ok(begun.length > 20, `${begun.length} of 2000`);
  });

  it('takes joined workers alone, of which a certificate has ended for the grace, and which are exempt from nothing', () => {
    holds((asked) => {
      for (const name of decide(asked).start) {
        const { role, joined, phase, expired: ended, cordon, repairing, refusedInFuture } = find(asked, name);
        assert.deepEqual([role, joined, cordon, repairing, refusedInFuture], ['worker', true, undefined, false, '']);
        assert.notEqual(phase, 'Ready');
        assert.ok(ended.some(({ endMs }) => endMs + asked.policy.graceSeconds * 1000 <= now));
      }
    });
  });

  it('keeps every limit, those under way counted', () => {
    holds((asked) => {
      const { start, unhealthy, maxUnhealthy } = decide(asked);
      if (start.length === 0) return;
      assert.ok(start.length + runningIn(asked) <= asked.policy.maxConcurrent);
      assert.ok(start.length + asked.history.startedAtMs.filter((ms) => now - ms < hour).length <= asked.policy.maxPerHour);
      assert.ok(unhealthy <= maxUnhealthy);
      assert.ok(asked.history.running.every(({ backingOffUntilMs }) => backingOffUntilMs === undefined));
    });
  });

  it('takes nobody while the coordinator is not well, or nobody may be replaced', () => {
    holds((asked) => {
      const { availability, pause, policy, provisionerKnown } = asked;
      if (decide(asked).start.length === 0) return;
      assert.ok(availability.problem === '' && availability.healthySinceMs !== undefined && availability.healthySinceMs <= now);
      assert.deepEqual([pause, policy.mode, policy.provisioner, provisionerKnown], [undefined, 'active', 'machines', true]);
    });
  });

  it('takes nobody of whom the coordinator was away all the time', () => {
    holds((asked) => {
      const away = { fromMs: 0, untilMs: now, why: 'away' };
      assert.deepEqual(decide({ ...asked, availability: { ...asked.availability, outages: [away] } }).start, []);
    });
  });

  it('never begins with more because of a pause, a cordon, a replacement more, or a lower limit', () => {
    holds((asked) => {
      const { start } = decide(asked);
      const paused = decide({ ...asked, pause: { by: 'a', reason: '', scope: 'cluster' } });
      assert.deepEqual(paused.start, []);
      const more = { id: 'rp-9', node: 'other', startedAtMs: now };
      const busier = decide({
        ...asked,
        history: { running: [...asked.history.running, more], startedAtMs: [...asked.history.startedAtMs, now] },
      });
      assert.ok(busier.start.length <= start.length);
      const cordoned = decide({ ...asked, nodes: asked.nodes.map((one) => ({ ...one, cordon: { by: 'a', reason: '' } })) });
      assert.deepEqual(cordoned.start, []);
      assert.ok(decide({ ...asked, policy: { ...asked.policy, maxConcurrent: 1 } }).start.length <= start.length);
    });
  });

  it('gives one verdict on each node, and begins with exactly those that are Due, each of whom is still so when it is asked again', () => {
    holds((asked) => {
      const { verdicts, start } = decide(asked);
      assert.deepEqual(
        verdicts.map((one) => one.node),
        asked.nodes.map(({ name }) => name),
      );
      assert.deepEqual(
        verdicts
          .filter(({ kind }) => kind === 'Due')
          .map((one) => one.node)
          .toSorted(),
        start.toSorted(),
      );
      for (const { kind, message } of verdicts) assert.ok(message !== '' || kind === 'NotDue');
      for (const one of start) assert.equal(reconsider(asked, one).kind, 'Due');
    });
  });

  it('does not hang on the order of the nodes', () => {
    holds((asked) => {
      assert.deepEqual(decide({ ...asked, nodes: asked.nodes.toReversed() }).start, decide(asked).start);
    });
  });
});
