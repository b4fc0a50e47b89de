import assert from 'node:assert/strict';
import { type HealthFacts, type NodeHealthState, nextDue, nextState, nodePhases, sameState, transitionsOf } from '@evercert/coordinator';
import fc from 'fast-check';
import { aged, certificate, facts, hour, now, part } from '../../../support/health.ts';

const hours = (ageHours: number, change: Partial<HealthFacts> = {}): HealthFacts =>
  facts({
    certificates: [
      {
        ...aged('a', 0),
        ...(aged('a', 0).reported && { reported: { ...aged('a', 0).reported!, state: ageHours >= 65 ? 'RenewalFailing' : 'Ready' } }),
      },
    ],
    identity: { serial: 'id', notAfterMs: now + 1000 * hour, revokedBy: undefined },
    nowMs: now + ageHours * hour,
    ...change,
  });
const at = (state: NodeHealthState, type: string) => state.conditions.find((condition) => condition.type === type);
const reasons = (before: NodeHealthState | undefined, after: NodeHealthState): string[] =>
  transitionsOf('n', before, after).map(({ reason, warning }) => `${warning ? '!' : ''}${reason}`);

describe("the way of a node's health", () => {
  it('is told phase by phase when its renewals fail, each time once, with the time of each change', () => {
    let state: NodeHealthState | undefined;
    const story: string[] = [];
    for (let hour = 0; hour <= 97; hour++) {
      const next = nextState(hours(hour), state);
      for (const { reason, warning } of transitionsOf('n', state, next)) story.push(`${hour} ${warning ? '!' : ''}${reason}`);
      state = next;
    }
    assert.deepEqual(story, [
      '0 NodeReady',
      '65 !NodeRenewalFailing',
      '80 !NodeExpiring',
      '96 !NodeExpired',
      '96 !NodeCertificatesInvalid',
    ]);
    assert.equal(state?.phaseSinceMs, now + 96 * hour);
    assert.equal(at(state as NodeHealthState, 'RenewalsSucceeding')?.lastTransitionMs, now + 65 * hour);
    assert.equal(at(state as NodeHealthState, 'Ready')?.lastTransitionMs, now + 65 * hour);
    assert.equal(at(state as NodeHealthState, 'Reachable')?.lastTransitionMs, now);
  });

  it('tells what is well again', () => {
    const down = nextState(facts({ silentMs: 50_000 }), nextState(facts(), undefined));
    assert.deepEqual(reasons(nextState(facts(), undefined), down), ['!NodeUnreachable']);
    assert.deepEqual(reasons(down, nextState(facts(), down)), ['NodeReady', 'NodeReachable']);
    const expired = nextState(facts({ certificates: [aged('a', 97)] }), undefined);
    assert.deepEqual(reasons(expired, nextState(facts(), expired)), ['NodeReady', 'NodeCertificatesValid', 'NodeRenewalsSucceeding']);
  });

  it('tells of components and trust bundles although the phase says nothing of them', () => {
    const well = nextState(facts(), undefined);
    const components = nextState(facts({ certificates: [certificate('a', { served: 'NotServed' })] }), well);
    assert.deepEqual(reasons(well, components), ['!NodeComponentsNotServing']);
    assert.deepEqual(reasons(components, nextState(facts(), components)), ['NodeComponentsServing']);
    const outdated = nextState(facts({ parts: [part('trust bundle', false)] }), well);
    assert.deepEqual(reasons(well, outdated), ['NodeJoining', '!NodeTrustBundleOutdated']);
  });

  it('makes no noise while a node joins', () => {
    const registered = nextState(facts({ joined: false, silentMs: undefined, reported: false }), undefined);
    assert.deepEqual(reasons(undefined, registered), []);
    const none = certificate('a', { serial: '', state: 'Pending' }, { issued: undefined });
    const joining = nextState(facts({ certificates: [none], parts: [part('trust bundle', false)] }), registered);
    assert.deepEqual(reasons(registered, joining), ['NodeJoining']);
    assert.deepEqual(reasons(joining, nextState(facts(), joining)), ['NodeReady']);
  });

  it('keeps the time of a condition whose reason alone changes', () => {
    const failing = nextState(facts({ certificates: [aged('a', 97)] }), undefined);
    const later = nextState(facts({ certificates: [certificate('a', { origin: 'unknown' })], nowMs: now + 1000 }), failing);
    assert.equal(at(later, 'CertificatesValid')?.reason, 'UnknownCertificate');
    assert.equal(at(later, 'CertificatesValid')?.lastTransitionMs, now);
    assert.equal(sameState(failing, later), false);
    assert.equal(
      sameState(later, nextState(facts({ certificates: [certificate('a', { origin: 'unknown' })], nowMs: now + 2000 }), later)),
      true,
    );
  });

  it('knows when time alone may change it', () => {
    assert.deepEqual(nextDue(hours(0, { silentMs: 1000 })), { wallMs: now + 72 * hour, silentForMs: 39_001 });
    assert.equal(nextDue(hours(72)).wallMs, now + 80 * hour);
    assert.equal(nextDue(hours(80)).wallMs, now + 96 * hour);
    assert.equal(nextDue(hours(96)).wallMs, now + 1000 * hour);
    assert.equal(nextDue(hours(0, { silentMs: 40_001 })).silentForMs, Number.POSITIVE_INFINITY);
    assert.equal(nextDue(hours(0, { silentMs: undefined })).silentForMs, Number.POSITIVE_INFINITY);
  });
});

describe('whatever is known of a node', () => {
  const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
  const ms = fc.integer({ min: -200, max: 200 }).map((offset) => now + offset * hour);
  const serial = fc.constantFrom('', '01', '02');
  const arbitraryCertificate = fc.record({
    name: fc.constantFrom('a', 'b', 'c'),
    renewAt: fc.double({ min: 0.1, max: 0.9, noNaN: true }),
    issued: maybe(fc.record({ serial, issuedAtMs: ms, notAfterMs: ms })),
    reported: maybe(
      fc.record({
        serial,
        notAfterMs: ms,
        nextRenewalAtMs: maybe(ms),
        state: fc.constantFrom('Pending', 'Issuing', 'Ready', 'RenewalFailing', 'Revoked', 'Expired', 'Failed', 'New'),
        error: fc.constantFrom('', 'why'),
        errorCode: fc.constantFrom('', 'Unavailable', 'DiskFull'),
        served: fc.constantFrom('', 'Served', 'NotServed', 'Unreachable'),
        origin: fc.constantFrom('current' as const, 'superseded' as const, 'unknown' as const, 'unchecked' as const),
      }),
    ),
    revokedBy: maybe(fc.constant('x')),
  });
  const arbitraryFacts: fc.Arbitrary<HealthFacts> = fc.record({
    role: fc.constantFrom('control-plane' as const, 'worker' as const),
    removed: fc.boolean(),
    joined: fc.boolean(),
    silentMs: maybe(fc.integer({ min: 0, max: 100_000 })),
    unreachableAfterMs: fc.constant(40_000),
    lastSeenAtMs: maybe(ms),
    reported: fc.boolean(),
    fresh: fc.boolean(),
    identity: fc.record({ serial, notAfterMs: ms, revokedBy: maybe(fc.constant('x')) }),
    certificates: fc.array(arbitraryCertificate, { maxLength: 3 }),
    parts: fc.array(fc.constantFrom(part('trust bundle'), part('trust bundle', false), part('key pair', false, 'x')), { maxLength: 3 }),
    components: fc.array(
      fc.constantFrom({ name: 'etcd', state: 'Healthy', message: '' }, { name: 'etcd', state: 'Unhealthy', message: 'x' }),
    ),
    problems: fc.array(fc.constant('x'), { maxLength: 1 }),
    repairing: fc.boolean(),
    replacing: maybe(fc.constant('rp-0123456789')),
    nowMs: ms,
  });

  it('makes the phase, and what came before it makes none of it', () => {
    fc.assert(
      fc.property(arbitraryFacts, fc.array(arbitraryFacts, { maxLength: 3 }), (given, history) => {
        const fresh = nextState(given, undefined);
        let state: NodeHealthState | undefined;
        for (const earlier of history) state = nextState(earlier, state);
        const after = nextState(given, state);
        assert.equal(after.phase, fresh.phase);
        assert.ok(nodePhases.includes(after.phase));
        assert.equal(after.message, fresh.message);
        assert.equal(after.phase === 'Ready', at(after, 'Ready')?.status === 'True' && given.joined && !given.removed);
      }),
      { numRuns: 300 },
    );
  });

  it('moves the time of a condition when, and only when, its status changes', () => {
    fc.assert(
      fc.property(fc.array(arbitraryFacts, { minLength: 2, maxLength: 6 }), (history) => {
        let state = nextState(history[0] as HealthFacts, undefined);
        for (const given of history.slice(1)) {
          const next = nextState(given, state);
          for (const [index, condition] of next.conditions.entries()) {
            const before = state.conditions[index];
            assert.equal(condition.lastTransitionMs, condition.status === before?.status ? before.lastTransitionMs : given.nowMs);
          }
          assert.equal(next.phaseSinceMs, next.phase === state.phase ? state.phaseSinceMs : given.nowMs);
          assert.ok(sameState(next, nextState({ ...given }, next)));
          assert.deepEqual(transitionsOf('n', next, nextState(given, next)), []);
          state = next;
        }
      }),
      { numRuns: 200 },
    );
  });

  it('changes by time alone at no other moment than the one that is due next', () => {
    fc.assert(
      fc.property(arbitraryFacts, fc.double({ min: 0, max: 1, noNaN: true }), (given, part) => {
        const { wallMs, silentForMs } = nextDue(given);
        const aheadMs = Math.min(wallMs - given.nowMs, silentForMs, 1000 * hour);
        const passedMs = Math.floor((aheadMs - 1) * part);
        const later = {
          ...given,
          nowMs: given.nowMs + passedMs,
          silentMs: given.silentMs === undefined ? undefined : given.silentMs + passedMs,
        };
        const state = nextState(given, undefined);
        assert.ok(sameState(state, nextState(later, state)), `${state.phase} became ${nextState(later, state).phase} after ${passedMs} ms`);
      }),
      { numRuns: 300 },
    );
  });
});
