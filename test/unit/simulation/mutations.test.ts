import assert from 'node:assert/strict';
import { defaultReplacementPolicy, type RecoveryPolicy, type ReplacementPolicy } from '@evercert/shared/manifest';
import { type ClusterOptions, calmWeather, type Decisions, simulateCluster, type ViolationKind, type Weather } from '@evercert/simulation';
import * as wrong from './mutations.ts';

interface Case {
  title: string;
  decisions: Decisions;
  weather: Partial<Weather>;
  policy?: Partial<ReplacementPolicy>;
  recovery?: RecoveryPolicy;
  kind: ViolationKind;
  /** What is told of it. */
  told: RegExp;
  /** The cluster with which the search begins: one in which it is found at once. */
  from: number;
}

const permissive: ReplacementPolicy = { ...defaultReplacementPolicy, provisioner: 'cloud', maxUnhealthy: '100%', maxPerHour: 20 };
const nightly: ReplacementPolicy['maintenanceWindows'] = [
  { name: 'nightly', selector: {}, time: { type: 'recurring', days: [], startMinutes: 0, durationSeconds: 20 * 3600 } },
];

const cases: Case[] = [
  {
    title: 'ignores maxUnhealthy',
    decisions: wrong.ignoresMaxUnhealthy,
    weather: { siteCut: 15 },
    policy: { maxUnhealthy: '20%' },
    kind: 'limitExceeded',
    told: /workers fail/,
    from: 7,
  },
  {
    title: 'replaces control-plane nodes',
    decisions: wrong.ignoresControlPlane,
    weather: { agentStuck: 80 },
    kind: 'controlPlaneRemoved',
    told: /removes it/,
    from: 21,
  },
  {
    title: 'ignores the grace time',
    decisions: wrong.ignoresGrace,
    weather: { nodeDies: 40 },
    policy: { graceSeconds: 3600 },
    kind: 'limitExceeded',
    told: /within its grace time/,
    from: 23,
  },
  {
    title: 'ignores that the coordinator was away',
    decisions: wrong.ignoresOwnAbsence,
    weather: { coordinatorDown: 30, nodeDies: 20 },
    kind: 'healthyReplaced',
    told: /coordinator/,
    from: 35,
  },
  {
    title: 'takes silence for expiry',
    decisions: wrong.replacesTheSilent,
    weather: { agentStuck: 80 },
    kind: 'healthyReplaced',
    told: /all its certificates hold/,
    from: 11,
  },
  {
    title: 'trusts a clock that went forward',
    decisions: wrong.trustsItsClock,
    weather: { coordinatorClock: 20, nodeDies: 60 },
    kind: 'healthyReplaced',
    told: /all its certificates hold/,
    from: 40,
  },
  {
    title: 'ignores the hourly rate',
    decisions: wrong.ignoresRate,
    weather: { siteCut: 15, nodeDies: 60 },
    policy: { maxPerHour: 1 },
    kind: 'limitExceeded',
    told: /within an hour, of 1/,
    from: 17,
  },
  {
    title: 'ignores how many are under way',
    decisions: wrong.ignoresConcurrency,
    weather: { siteCut: 15 },
    kind: 'limitExceeded',
    told: /beside 1 others/,
    from: 7,
  },
  {
    title: 'ignores that one backs off',
    decisions: wrong.ignoresBackOff,
    weather: { siteCut: 15 },
    policy: { maxConcurrent: 5 },
    kind: 'limitExceeded',
    told: /while one backs off/,
    from: 7,
  },
  {
    title: 'ignores pauses',
    decisions: wrong.ignoresPauses,
    weather: { nodeDies: 40, pause: 20 },
    kind: 'limitExceeded',
    told: /paused/,
    from: 6,
  },
  {
    title: 'ignores cordons',
    decisions: wrong.ignoresCordons,
    weather: { nodeDies: 40, cordon: 200 },
    kind: 'limitExceeded',
    told: /cordoned/,
    from: 15,
  },
  {
    title: 'ignores maintenance windows',
    decisions: wrong.ignoresWindows,
    weather: { nodeDies: 40 },
    policy: { maintenanceWindows: nightly },
    kind: 'limitExceeded',
    told: /maintenance window/,
    from: 40,
  },
  {
    title: 'ignores repair windows',
    decisions: wrong.ignoresRepairWindows,
    weather: { nodeDies: 40, repairWindow: 300 },
    kind: 'limitExceeded',
    told: /repair window/,
    from: 23,
  },
  {
    title: 'ignores that it is only a dry run',
    decisions: wrong.ignoresMode,
    weather: { nodeDies: 40 },
    policy: { mode: 'dry-run' },
    kind: 'limitExceeded',
    told: /dry-run/,
    from: 34,
  },
  {
    title: 'ignores revocations that would refuse the new node',
    decisions: wrong.ignoresRevocations,
    weather: { revocation: 150 },
    kind: 'limitExceeded',
    told: /refused as well/,
    from: 15,
  },
  {
    title: 'does not look once more before a machine is removed',
    decisions: wrong.neverReconsiders,
    weather: { lastMoment: 300 },
    recovery: 'automatic',
    kind: 'healthyReplaced',
    told: /all its certificates hold/,
    from: 9,
  },
  { title: 'replaces nobody', decisions: wrong.replacesNobody, weather: { nodeDies: 40 }, kind: 'lost', told: /is not replaced/, from: 21 },
];

/** The first of some clusters in which the wrong decision is caught. */
async function caughtIn({ decisions, weather, policy, recovery = 'never', kind, told, from }: Case): Promise<ClusterOptions | undefined> {
  for (let cluster = from; cluster < from + 20; cluster += 1) {
    const options: ClusterOptions = {
      seed: 'mutation',
      cluster,
      nodes: 12,
      days: 8,
      weather: { ...calmWeather, ...weather },
      policy: { ...permissive, ...policy },
      recovery,
    };
    const { violations } = await simulateCluster({ ...options, decisions });
    if (violations.some((violation) => violation.kind === kind && told.test(violation.what))) return options;
  }
  return undefined;
}

describe('The judge of the simulation', () => {
  for (const one of cases) {
    it(`catches a decision that ${one.title}, and finds nothing wrong with the real one`, async () => {
      const options = await caughtIn(one);
      assert.ok(options, `nothing of the kind ${one.kind} was found in 20 clusters`);
      assert.deepEqual((await simulateCluster(options)).violations, []);
    });
  }
});
