import assert from 'node:assert/strict';
import {
  decide,
  type HoldReason,
  holdReasons,
  type Outage,
  type ReplacementQuestion,
  reconsider,
  type Verdict,
} from '@evercert/coordinator/replacement';
import { ended, fleet, hour, lost, minute, now, question, worker } from '../../../support/replacement.ts';

const running = (node: string, change: object = {}) => ({ id: `rp-${node}`, node, startedAtMs: now - minute, ...change });
const outage = (fromAgoMs: number, untilAgoMs: number) => ({
  fromMs: now - fromAgoMs,
  untilMs: now - untilAgoMs,
  why: 'the coordinator did not run',
});
const well = (agoMs: number, outages: Outage[] = []) => ({ healthySinceMs: now - agoMs, problem: '', outages });
const always = { name: 'freeze', time: { type: 'once' as const, fromMs: now - hour, untilMs: now + hour }, selector: {} };
const only = (nodes: string[]) => ({ ...always, selector: { nodes } });
const pause = { by: 'admin/ada', reason: 'storm', scope: 'cluster' as const };
const five = (failing: number) => Array.from({ length: 5 }, (_, i) => (i < failing ? lost(`w-${i}`) : worker(`w-${i}`)));

interface Expected {
  /** `KIND Reason` of w-0. */
  is: `${Verdict['kind']} ${string}`;
  message?: RegExp;
  againAtMs?: number;
  start?: string[];
}
type Change = Parameters<typeof question>[0];

const cases: [what: string, change: Change, expected: Expected][] = [
  // Not due.
  ['a worker that is well', { nodes: fleet(worker('w-0')) }, { is: 'NotDue ', message: /^$/ }],
  [
    'one whose renewals fail, its certificates still good',
    { nodes: fleet(worker('w-0', { phase: 'Expiring', phaseMessage: 'no answer' })) },
    { is: 'NotDue NotExpired', message: /it is Expiring: no answer; it is not replaced as long as its certificates have not expired/ },
  ],
  [
    'one that is unreachable, its certificates still good',
    { nodes: fleet(worker('w-0', { phase: 'Unreachable' })) },
    { is: 'NotDue NotExpired' },
  ],
  ['one that never joined', { nodes: fleet(worker('w-0', { joined: false, phase: 'Registered' })) }, { is: 'NotDue NotJoined' }],
  ['one that is not joined, whatever has ended', { nodes: fleet(lost('w-0', { joined: false })) }, { is: 'NotDue NotJoined' }],
  ['one that was deleted', { nodes: fleet(lost('w-0', { phase: 'Removed' })) }, { is: 'NotDue ' }],
  ['one that is Ready, although something seems to have ended', { nodes: fleet(lost('w-0', { phase: 'Ready' })) }, { is: 'NotDue ' }],
  ['one whose certificate ends in a millisecond', { nodes: fleet(lost('w-0', { expired: [ended(-1)] })) }, { is: 'NotDue NotExpired' }],

  // Due.
  [
    'one whose certificate ended an hour ago',
    {},
    { is: 'Due CertificatesExpired', message: /^kubelet-client expired at 2026-01-05T11:00:00Z without/ },
  ],
  [
    'one whose identity and certificates ended, with what the agent says',
    { nodes: fleet(lost('w-0', { expired: [ended(hour), ended(2 * hour, 'identity')], failure: 'no answer' })) },
    {
      is: 'Due CertificatesExpired',
      message: /^identity, kubelet-client expired, the first at .* without having been renewed \(no answer\)/,
    },
  ],
  ['one that is silent', { nodes: fleet(lost('w-0', { phase: 'Unreachable' })) }, { is: 'Due CertificatesExpired' }],
  ['one whose identity is revoked', { nodes: fleet(lost('w-0', { phase: 'Revoked' })) }, { is: 'Due CertificatesExpired' }],
  ['one that never came further than joining', { nodes: fleet(lost('w-0', { phase: 'Joining' })) }, { is: 'Due CertificatesExpired' }],

  // A clock that went forward.
  [
    'one that has ended only by a clock that went forward since its certificate was issued',
    { availability: { ...well(2 * hour), leaps: [{ atMs: now - 6 * hour, byMs: 3 * hour }] } },
    {
      is: 'Held WithinGrace',
      message:
        /replaced at 2026-01-05T14:10:00Z if .* \(grace 600 s, and 10800 s by which the coordinator's clock went forward since it was issued\)/,
      againAtMs: now + 2 * hour + 10 * minute,
    },
  ],
  [
    'one that has ended by the clock as it went before it went forward, too',
    { availability: { ...well(2 * hour), leaps: [{ atMs: now - 6 * hour, byMs: 40 * minute }] } },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'one whose certificate was issued after the clock went forward',
    { availability: { ...well(2 * hour), leaps: [{ atMs: now - 98 * hour, byMs: 30 * hour }] } },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'one whose certificate was issued before the clock went forward, and back again',
    {
      availability: {
        ...well(2 * hour),
        leaps: [
          { atMs: now - 20 * hour, byMs: 30 * hour },
          { atMs: now + 5 * hour, byMs: -30 * hour },
        ],
      },
    },
    { is: 'Due CertificatesExpired' },
  ],

  // Grace.
  [
    'one that ended a moment ago',
    { nodes: fleet(lost('w-0', { expired: [ended(0)] })) },
    {
      is: 'Held WithinGrace',
      message: /replaced at 2026-01-05T12:10:00Z if .*evercert repair demo --node w-0/,
      againAtMs: now + 10 * minute,
    },
  ],
  [
    'one a millisecond before the end of its grace',
    { nodes: fleet(lost('w-0', { expired: [ended(10 * minute - 1)] })) },
    { is: 'Held WithinGrace', againAtMs: now + 1 },
  ],
  ['one at the end of its grace', { nodes: fleet(lost('w-0', { expired: [ended(10 * minute)] })) }, { is: 'Due CertificatesExpired' }],
  [
    'one of whose certificates the first counts',
    { nodes: fleet(lost('w-0', { expired: [ended(minute), ended(10 * minute, 'identity')] })) },
    { is: 'Due CertificatesExpired' },
  ],

  // The policy.
  ['no provisioner', { policy: { provisioner: '' } }, { is: 'Held NoProvisioner', message: /spec\.replacement\.provisioner/ }],
  ['no provisioner, for the whole cluster', { policy: { provisioner: '', mode: 'off' } }, { is: 'Held NoProvisioner' }],
  [
    'a provisioner that nobody knows',
    { provisionerKnown: false },
    { is: 'Held ProvisionerUnknown', message: /"machines".*coordinator\.yaml/ },
  ],
  ['a policy that is off', { policy: { mode: 'off' } }, { is: 'Held Off', message: /spec\.replacement\.mode/ }],
  ['a dry run', { policy: { mode: 'dry-run' } }, { is: 'Held DryRun', message: /would be replaced now/ }],
  [
    'a dry run with two that are due',
    { policy: { mode: 'dry-run' }, nodes: fleet(lost('w-0'), lost('w-1', { expired: [ended(3 * hour)] })) },
    { is: 'Held DryRun', message: /would be replaced after w-1/ },
  ],
  ['a dry run of a paused cluster', { policy: { mode: 'dry-run' }, pause }, { is: 'Held Paused' }],

  // Pauses.
  ['a pause of the cluster', { pause }, { is: 'Held Paused', message: /by admin\/ada: storm; 'evercert replacement resume demo'/ }],
  ['a pause of all clusters', { pause: { ...pause, scope: 'all' } }, { is: 'Held Paused', message: /'evercert replacement resume --all'/ }],

  // The coordinator itself.
  [
    'a coordinator that is not well',
    { availability: { healthySinceMs: undefined, problem: 'its store takes no writes', outages: [] } },
    { is: 'Held CoordinatorUnhealthy', message: /not well: its store takes no writes/ },
  ],
  [
    'a coordinator that is ill although it was well',
    { availability: { ...well(hour), problem: 'x' } },
    { is: 'Held CoordinatorUnhealthy' },
  ],
  [
    'a coordinator that has been well for less than the grace',
    { availability: well(10 * minute - 1) },
    { is: 'Held CoordinatorUnhealthy', message: /only since .*workers have until/, againAtMs: now + 1 },
  ],
  ['a coordinator that has been well for the grace', { availability: well(10 * minute) }, { is: 'Due CertificatesExpired' }],
  ['a coordinator that will be well in the future', { availability: well(-hour) }, { is: 'Held CoordinatorUnhealthy' }],
  [
    'a coordinator that was away through all of the time for renewals',
    { availability: well(45 * minute, [outage(40 * hour, 45 * minute)]) },
    {
      is: 'Held CoordinatorWasAway',
      message:
        /kubelet-client: the coordinator was there for 0% of the time .*until 2026-01-05T11:15:00Z: the coordinator did not run.*held until/,
      againAtMs: now + 32 * hour - 45 * minute,
    },
  ],
  [
    'a coordinator that was away for a little more than half of it',
    { availability: well(15 * hour, [outage(33 * hour, 17 * hour - 1)]) },
    { is: 'Held CoordinatorWasAway', message: /49%/ },
  ],
  [
    'a coordinator that was away for half of it',
    { availability: well(15 * hour, [outage(33 * hour, 17 * hour)]) },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'a coordinator that was away twice at once',
    { availability: well(15 * hour, [outage(33 * hour, 17 * hour), outage(30 * hour, 18 * hour)]) },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'a coordinator that was away, and back for as long again',
    { availability: well(32 * hour, [outage(80 * hour, 32 * hour)]), nodes: fleet(lost('w-0', { expired: [ended(40 * hour)] })) },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'a coordinator that was away, and back for not quite as long',
    { availability: well(32 * hour - 1, [outage(80 * hour, 32 * hour - 1)]), nodes: fleet(lost('w-0', { expired: [ended(40 * hour)] })) },
    { is: 'Held CoordinatorWasAway', againAtMs: now + 1 },
  ],
  [
    'a certificate of which it is not known when it was due, and a coordinator that was away since',
    {
      availability: well(2 * hour, [outage(30 * minute, 20 * minute)]),
      nodes: fleet(lost('w-0', { expired: [{ name: 'x', dueMs: now - hour, endMs: now - hour }] })),
    },
    { is: 'Held CoordinatorWasAway', message: /not known when its renewal was due/ },
  ],
  [
    'a certificate of which it is not known when it was due, and a coordinator that was not well at its end',
    {
      availability: well(30 * minute),
      nodes: fleet(lost('w-0', { expired: [{ name: 'x', dueMs: now - hour, endMs: now - hour }] })),
    },
    { is: 'Held CoordinatorWasAway' },
  ],
  [
    'a certificate of which it is not known when it was due, and a coordinator that was there',
    { availability: well(2 * hour), nodes: fleet(lost('w-0', { expired: [{ name: 'x', dueMs: now - hour, endMs: now - hour }] })) },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'one certificate that ended while it was away, and one that did not',
    {
      availability: well(40 * hour, [outage(90 * hour, 40 * hour)]),
      nodes: fleet(lost('w-0', { expired: [ended(40 * hour + minute), ended(hour, 'identity')] })),
    },
    { is: 'Due CertificatesExpired' },
  ],

  // Too many.
  [
    'three of five workers that fail',
    { nodes: five(3) },
    {
      is: 'Held TooManyUnhealthy',
      message: /3 of 5 workers fail at once, at most 2 may \(maxUnhealthy 40%\).*'evercert repair demo --node NAME'/,
    },
  ],
  ['two of five', { nodes: five(2) }, { is: 'Due CertificatesExpired', start: ['w-0'] }],
  ['more than a count', { nodes: fleet(lost('w-0'), lost('w-1')), policy: { maxUnhealthy: '1' } }, { is: 'Held TooManyUnhealthy' }],
  ['a limit that cannot be read', { policy: { maxUnhealthy: 'some' } }, { is: 'Held TooManyUnhealthy' }],
  [
    'the only worker of its cluster',
    { nodes: [lost('w-0')] },
    { is: 'Held TooManyUnhealthy', message: /1 of 1 workers .* at most 0 may .*a count such as "1"/ },
  ],
  [
    'others that are only joining, repaired or unreachable',
    {
      nodes: [
        lost('w-0'),
        worker('w-1', { phase: 'Joining' }),
        worker('w-2', { phase: 'Repairing' }),
        worker('w-3', { phase: 'Unreachable' }),
        ...Array.from({ length: 4 }, (_, i) => worker(`h-${i}`)),
      ],
    },
    { is: 'Held TooManyUnhealthy', message: /4 of 8/ },
  ],
  [
    'workers that are only registered, which raise no percentage',
    { nodes: [...five(2).slice(0, 4), ...Array.from({ length: 9 }, (_, i) => worker(`r-${i}`, { joined: false, phase: 'Registered' }))] },
    { is: 'Held TooManyUnhealthy', message: /2 of 4/ },
  ],
  [
    'control-plane nodes that fail, which count for nothing here',
    { nodes: [...fleet(lost('w-0')), ...Array.from({ length: 9 }, (_, i) => lost(`cp-${i}`, { role: 'control-plane' }))] },
    { is: 'Due CertificatesExpired', start: ['w-0'] },
  ],

  // Its own.
  [
    'a cordon',
    { nodes: fleet(lost('w-0', { cordon: { by: 'admin/ada', reason: 'disk' } })) },
    { is: 'Held Cordoned', message: /exempt from replacement, by admin\/ada: disk; 'evercert uncordon w-0 --cluster demo'/ },
  ],
  [
    'a cordon with an end',
    { nodes: fleet(lost('w-0', { cordon: { by: 'a', reason: '', untilMs: now + 1 } })) },
    { is: 'Held Cordoned', message: /until 2026-01-05T12:00:00\.001Z/, againAtMs: now + 1 },
  ],
  [
    'a cordon that has ended',
    { nodes: fleet(lost('w-0', { cordon: { by: 'a', reason: '', untilMs: now } })) },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'a maintenance window',
    { policy: { maintenanceWindows: [always] } },
    { is: 'Held MaintenanceWindow', message: /window freeze is open: it waits until 2026-01-05T13:00:00Z/, againAtMs: now + hour },
  ],
  ['a maintenance window of another', { policy: { maintenanceWindows: [only(['h-1'])] } }, { is: 'Due CertificatesExpired' }],
  ['a repair window', { nodes: fleet(lost('w-0', { phase: 'Repairing', repairing: true })) }, { is: 'Held Repairing' }],
  [
    'an entry that would refuse the new node too',
    { nodes: fleet(lost('w-0', { refusedInFuture: 'entry 1 of x' })) },
    { is: 'Held RevocationMatchesSuccessor', message: /entry 1 of x would refuse a new node in its place as well/ },
  ],
  [
    'an entry for its name alone, and a provisioner that gives another',
    { sameName: false, nodes: fleet(lost('w-0', { refusedInFuture: 'entry 1 of x' })) },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'an entry for any name, and a provisioner that gives another',
    { sameName: false, nodes: fleet(lost('w-0', { refusedInFuture: 'entry 1 of x', refusedByAnyName: 'entry 2 of x' })) },
    { is: 'Held RevocationMatchesSuccessor', message: /entry 2 of x/ },
  ],

  // Limits.
  [
    'one that is under way',
    { history: { running: [running('h-1')], startedAtMs: [now - minute] } },
    {
      is: 'Held OneAtATime',
      message: /1 replacement is under way, at most 1 may be at once \(maxConcurrent\): it waits for h-1 \(rp-h-1\)/,
    },
  ],
  [
    'one that is under way whose record is not known',
    { nodes: fleet(lost('w-0'), worker('w-1', { phase: 'Replacing', replacing: { id: 'rp-1', step: 'Drain' } })) },
    { is: 'Held OneAtATime', message: /rp-1/ },
  ],
  [
    'one under way of two that may be',
    { policy: { maxConcurrent: 2 }, history: { running: [running('h-1')], startedAtMs: [] } },
    { is: 'Due CertificatesExpired', start: ['w-0'] },
  ],
  [
    'another that expired before it',
    { nodes: fleet(lost('w-0'), lost('w-1', { expired: [ended(2 * hour)] })) },
    { is: 'Held OneAtATime', message: /at most 1 may be replaced at once \(maxConcurrent\), and w-1 expired before it/, start: ['w-1'] },
  ],
  [
    'another that expired with it, and a later name',
    { nodes: fleet(lost('w-1'), lost('w-0')) },
    { is: 'Due CertificatesExpired', start: ['w-0'] },
  ],
  [
    'six within the hour',
    { history: { running: [], startedAtMs: [59, 50, 40, 30, 20, 10].map((ago) => now - ago * minute) } },
    {
      is: 'Held RateLimited',
      message: /6 replacements began within the last hour, at most 6 may \(maxPerHour\): the next may begin at 2026-01-05T12:01:00Z/,
      againAtMs: now + minute,
    },
  ],
  [
    'six, the first just an hour ago',
    { history: { running: [], startedAtMs: [60, 50, 40, 30, 20, 10].map((ago) => now - ago * minute) } },
    { is: 'Due CertificatesExpired' },
  ],
  [
    'a replacement that backs off',
    { policy: { maxConcurrent: 5 }, history: { running: [running('h-1', { backingOffUntilMs: now + minute })], startedAtMs: [] } },
    {
      is: 'Held BackingOff',
      message: /the new machine for h-1 did not come up \(replacement rp-h-1\).*12:01:00Z/,
      againAtMs: now + minute,
    },
  ],
  [
    'the one place left taken by another that is first',
    {
      policy: { maxConcurrent: 5, maxPerHour: 2 },
      nodes: fleet(lost('w-0'), lost('w-1', { expired: [ended(2 * hour)] })),
      history: { running: [], startedAtMs: [now - minute] },
    },
    { is: 'Held OneAtATime', message: /1 more may begin now \(maxConcurrent 5, maxPerHour 2\), and w-1/, start: ['w-1'] },
  ],

  // Several at once: the first of the order is told.
  [
    'a pause, an ill coordinator and too many',
    { pause, nodes: five(5), availability: { healthySinceMs: undefined, problem: 'x', outages: [] } },
    { is: 'Held Paused' },
  ],
  [
    'too many, a cordon and grace',
    { nodes: [lost('w-0', { cordon: { by: 'a', reason: '' }, expired: [ended(0)] }), ...five(5)] },
    { is: 'Held TooManyUnhealthy' },
  ],
  [
    'a cordon and one under way',
    { nodes: fleet(lost('w-0', { cordon: { by: 'a', reason: '' } })), history: { running: [running('h-1')], startedAtMs: [] } },
    { is: 'Held Cordoned' },
  ],

  // Under way.
  [
    'its replacement under way',
    {
      nodes: fleet(worker('w-0', { phase: 'Replacing', replacing: { id: 'rp-1', step: 'Drain' } })),
      history: { running: [{ ...running('w-0'), id: 'rp-1' }], startedAtMs: [] },
    },
    { is: 'Replacing UnderWay', message: /replacement rp-1, step Drain is under way/ },
  ],
  [
    'its replacement under way, although its record does not say so',
    { history: { running: [running('w-0')], startedAtMs: [] } },
    { is: 'Replacing UnderWay' },
  ],
  [
    'its replacement paused',
    { pause, history: { running: [running('w-0')], startedAtMs: [] } },
    { is: 'Replacing Paused', message: /paused by admin\/ada/ },
  ],
  [
    'its replacement backing off',
    { history: { running: [running('w-0', { backingOffUntilMs: now + minute })], startedAtMs: [] } },
    { is: 'Replacing BackingOff', againAtMs: now + minute },
  ],

  // Control plane.
  ['a control-plane node that is well', { nodes: fleet(worker('w-0', { role: 'control-plane' })) }, { is: 'Never ' }],
  [
    'a control-plane node that has expired',
    { nodes: fleet(lost('w-0', { role: 'control-plane' })) },
    {
      is: 'Never NeedsRepair',
      message: /kubelet-client expired at .* never removed: .*'evercert repair demo --node w-0' brings it back/,
      start: [],
    },
  ],
  [
    'a control-plane node whose renewals fail',
    { nodes: fleet(worker('w-0', { role: 'control-plane', phase: 'RenewalFailing', phaseMessage: 'no answer' })) },
    { is: 'Never NeedsRepair', message: /it is RenewalFailing: no answer/ },
  ],
  ['a control-plane node on its way', { nodes: fleet(worker('w-0', { role: 'control-plane', phase: 'Joining' })) }, { is: 'Never ' }],
  [
    'a control-plane node that is said to be replaced',
    { nodes: fleet(lost('w-0', { role: 'control-plane', replacing: { id: 'rp-1', step: '' } })) },
    { is: 'Never NeedsRepair', start: [] },
  ],
];

function verdictOn(name: string, asked: ReplacementQuestion): Verdict {
  const verdict = decide(asked).verdicts.find(({ node }) => node === name);
  assert.ok(verdict);
  return verdict;
}

describe('the decision on replacements', () => {
  for (const [what, change, { is, message, againAtMs, start }] of cases) {
    it(`is ${is.trim()} for ${what}`, () => {
      const asked = question(change);
      const verdict = verdictOn('w-0', asked);
      assert.equal(`${verdict.kind} ${verdict.reason}`, is, verdict.message);
      if (message) assert.match(verdict.message, message);
      if (againAtMs !== undefined || verdict.kind !== 'Held') assert.equal(verdict.againAtMs, againAtMs);
      const begun = decide(asked).start;
      assert.equal(begun.includes('w-0'), verdict.kind === 'Due');
      if (start) assert.deepEqual(begun, start);
    });
  }

  it('has a case for every reason to hold a worker back', () => {
    const seen = new Set(cases.map(([, , { is }]) => is.split(' ')[1]));
    assert.deepEqual(
      holdReasons.filter((reason) => !seen.has(reason)),
      [],
    );
  });

  it('changes when it said that it would', () => {
    for (const [what, change, { is }] of cases) {
      const asked = question(change);
      const { againAtMs, reason } = verdictOn('w-0', asked);
      if (!is.startsWith('Held') || againAtMs === undefined || reason === 'BackingOff') continue;
      assert.notEqual(verdictOn('w-0', { ...asked, nowMs: againAtMs }).reason, reason, what);
      assert.equal(verdictOn('w-0', { ...asked, nowMs: againAtMs - 1 }).reason, reason, what);
    }
  });

  it('tells of every node in the order of the question, and counts', () => {
    const asked = question({ nodes: five(2) });
    const { verdicts, workers, unhealthy, maxUnhealthy, held } = decide(asked);
    assert.deepEqual(
      verdicts.map(({ node }) => node),
      asked.nodes.map(({ name }) => name),
    );
    assert.deepEqual([workers, unhealthy, maxUnhealthy, held], [5, 2, 2, undefined]);
  });

  it('tells what holds the whole cluster back, although nobody is due', () => {
    const held = (change: Change): HoldReason | undefined => decide(question({ nodes: fleet(), ...change })).held?.reason;
    assert.equal(held({}), undefined);
    assert.equal(held({ pause }), 'Paused');
    assert.equal(held({ policy: { mode: 'dry-run' } }), 'DryRun');
    assert.equal(held({ policy: { mode: 'off' } }), 'Off');
    assert.equal(held({ history: { running: [running('h-1')], startedAtMs: [] } }), 'OneAtATime');
  });

  it('begins with as many as may be at once, those that expired first before', () => {
    const nodes = fleet(lost('w-2', { expired: [ended(2 * hour)] }), lost('w-1'), lost('w-0'), lost('w-3', { expired: [ended(3 * hour)] }));
    assert.deepEqual(decide(question({ nodes, policy: { maxConcurrent: 3 } })).start, ['w-3', 'w-2', 'w-0']);
  });

  it('counts a replacement once, with its old and its new node', () => {
    const replacing = { id: 'rp-1', step: 'Join' };
    const nodes = [
      ...five(0),
      worker('old', { joined: false, phase: 'Replacing', replacing }),
      worker('new', { phase: 'Replacing', replacing }),
    ];
    const { workers, unhealthy } = decide(
      question({
        nodes,
        history: { running: [running('old'), running('gone')].map((one, i) => ({ ...one, id: `rp-${i + 1}` })), startedAtMs: [] },
      }),
    );
    assert.deepEqual([workers, unhealthy], [7, 2]);
  });
});

describe('a replacement that is reconsidered before the machine is removed', () => {
  const replacing = { id: 'rp-1', step: 'Drain' };
  const history = { running: [{ ...running('w-0'), id: 'rp-1' }], startedAtMs: [now - minute] };
  const under = lost('w-0', { phase: 'Replacing', replacing });
  const again = (change: Change = {}): string => {
    const { kind, reason } = reconsider(question({ nodes: fleet(under), history, ...change }), 'w-0');
    return `${kind} ${reason}`;
  };

  it('goes on while the node is still lost, whatever the limits say', () => {
    assert.equal(again(), 'Due CertificatesExpired');
    assert.equal(again({ policy: { maxPerHour: 1 } }), 'Due CertificatesExpired');
    assert.equal(
      again({ policy: { maintenanceWindows: [always] } }),
      'Due CertificatesExpired',
      'no replacement begins in a window, one goes on',
    );
  });

  it('is given up when the node has recovered, or is gone', () => {
    assert.equal(again({ nodes: fleet(worker('w-0', { phase: 'Replacing', replacing })) }), 'NotDue ');
    assert.equal(again({ nodes: fleet() }), 'NotDue ');
  });

  it('waits while something holds it back', () => {
    assert.equal(again({ pause }), 'Held Paused');
    assert.equal(again({ policy: { mode: 'off' } }), 'Held Off');
    assert.equal(again({ policy: { mode: 'dry-run' } }), 'Held DryRun');
    assert.equal(again({ availability: well(minute) }), 'Held CoordinatorUnhealthy');
    assert.equal(again({ nodes: [under, ...five(5).slice(1)] }), 'Held TooManyUnhealthy');
    assert.equal(again({ nodes: fleet({ ...under, cordon: { by: 'a', reason: '' } }) }), 'Held Cordoned');
    assert.equal(again({ nodes: fleet({ ...under, repairing: true }) }), 'Held Repairing');
  });

  it('never takes a control-plane node', () => {
    assert.equal(again({ nodes: fleet({ ...under, role: 'control-plane' }) }), 'Never NeedsRepair');
  });
});
