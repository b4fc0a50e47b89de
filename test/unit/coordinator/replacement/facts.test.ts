import assert from 'node:assert/strict';
import type { CertificateFacts, HealthFacts } from '@evercert/coordinator';
import { expiredOf, type ReplacementFacts, type ReplacementSources, replacementFactsOf } from '@evercert/coordinator/replacement';
import type { RevocationMatch } from '@evercert/coordinator/revocation';
import { aged, certificate, facts, hour, now } from '../../../support/health.ts';

const silent = { silentMs: 40_001 };
const identityIssuedAtMs = now - 72 * hour;
const newer = (issuedAgoMs: number) => ({ serial: 'a-2', issuedAtMs: now - issuedAgoMs, notAfterMs: now - issuedAgoMs + 96 * hour });
/** The earlier certificate ended an hour ago, a newer one was issued. */
const behind = (issuedAgoMs: number): CertificateFacts => ({ ...aged('a', 97, { origin: 'superseded' }), issued: newer(issuedAgoMs) });
const of = (one: CertificateFacts, change: Partial<HealthFacts> = {}): Partial<HealthFacts> => ({ certificates: [one], ...change });

const cases: [what: string, change: Partial<HealthFacts>, expected: [name: string, dueAgoHours: number, endAgoHours: number][]][] = [
  ['a node that is well', {}, []],
  ['a certificate that has ended', of(aged('a', 97)), [['a', 33, 1]]],
  ['a certificate that ends this very millisecond', of(aged('a', 96)), [['a', 32, 0]]],
  ['a certificate before its end', of(aged('a', 95.999)), []],
  ['a certificate that was never issued', of(certificate('a', null, { issued: undefined })), []],
  [
    'two that have ended',
    { certificates: [aged('a', 97), aged('b', 98), aged('c', 1)] },
    [
      ['a', 33, 1],
      ['b', 34, 2],
    ],
  ],
  [
    'one that ended, and whose next try is said to come',
    of(aged('a', 97, { state: 'Expired', nextRenewalAtMs: now + hour })),
    [['a', 33, 1]],
  ],
  ['one that ended on a silent node', of(aged('a', 97), silent), [['a', 33, 1]]],
  ['one that ended on a silent node, a newer issued since it was heard', of(behind(hour), silent), []],
  ['one that ended on a silent node that never told of it', of({ ...aged('a', 97), reported: undefined }, silent), [['a', 33, 1]]],
  ['one that ended, told of before a restart, a newer issued since', of(behind(hour), { fresh: false }), []],
  ['one that ended, a newer issued a moment ago', of(behind(5_000)), []],
  [
    'one that ended, a newer issued this moment, and where it comes from not yet looked up',
    of({ ...aged('a', 97, { origin: 'unchecked' }), issued: newer(1) }),
    [],
  ],
  ['one that ended, a newer issued long enough ago and not in place', of(behind(2 * hour)), [['a', 33, 1]]],
  [
    'one that ended, of which only its renewal tells when it was due',
    of({ ...behind(3 * hour), reported: { ...aged('a', 97).reported!, origin: 'superseded', nextRenewalAtMs: undefined } }),
    [['a', 3, 1]],
  ],
  ['a file that cannot be put in place, still good', of(certificate('a', { error: 'full', errorCode: 'DiskFull' })), []],
  ['an identity that has ended', { identity: { serial: 'id', notAfterMs: now - 6 * hour, revokedBy: undefined } }, [['identity', 28, 6]]],
  [
    'an identity that ends this very millisecond',
    { identity: { serial: 'id', notAfterMs: now, revokedBy: undefined } },
    [['identity', 24, 0]],
  ],
  ['a node that never joined', { ...of(aged('a', 97)), joined: false }, []],
  ['a node that was deleted', { ...of(aged('a', 97)), removed: true }, []],
];

describe('what has expired on a node', () => {
  for (const [what, change, expected] of cases) {
    it(`is ${expected.length === 0 ? 'nothing' : expected.map(([name]) => name).join(' and ')} with ${what}`, () => {
      const found = expiredOf(facts(change), identityIssuedAtMs);
      assert.deepEqual(
        found.map(({ name, dueMs, endMs }) => [name, (now - dueMs) / hour, (now - endMs) / hour]),
        expected,
      );
    });
  }

  it('has no known due time where the record of the identity is not there', () => {
    const [identity] = expiredOf(facts({ identity: { serial: 'id', notAfterMs: now - hour, revokedBy: undefined } }), undefined);
    assert.deepEqual(identity, { name: 'identity', dueMs: now - hour, endMs: now - hour });
  });
});

describe('the facts of replacement', () => {
  const match = (kind: RevocationMatch['kind'], value: string, entry = 0): RevocationMatch => ({
    object: 'incident',
    entry,
    kind,
    value,
    description: '',
    reason: 'keyCompromise',
    addedAtMs: 0,
  });
  interface World {
    health?: Partial<HealthFacts>;
    phase?: ReplacementFacts['phase'];
    record?: object;
    matches?: RevocationMatch[];
  }
  const build = ({ health = {}, phase = 'Expired', record = {}, matches = [] }: World): ReplacementFacts => {
    const sources = {
      model: { currents: { get: () => ({ record: { issuedAtMs: identityIssuedAtMs } }) } },
      health: { of: () => ({ phase, message: 'why' }), factsOf: () => facts(health) },
      desired: { plan: () => ({ resolved: { certificates: [{ name: 'a' }, { name: 'b' }] } }) },
      revocations: { entries: () => matches.length, matchProfile: () => matches },
      stepOf: (_cluster: string, id: string) => `step of ${id}`,
      nowMs: () => now,
    };
    const node = { cluster: 'demo', name: 'w-1', role: 'worker', labels: { rack: 'a' }, identitySerials: ['id'], ...record };
    return replacementFactsOf(sources as unknown as ReplacementSources, node as never);
  };
  const dead = of(aged('a', 97));

  it('hold what is known of the node', () => {
    assert.deepEqual(build({ health: dead }), {
      name: 'w-1',
      role: 'worker',
      labels: { rack: 'a' },
      joined: true,
      phase: 'Expired',
      phaseMessage: 'why',
      expired: [{ name: 'a', dueMs: now - 33 * hour, endMs: now - hour, issuedAtMs: now - 97 * hour }],
      failure: '',
      cordon: undefined,
      repairing: false,
      refusedInFuture: '',
      refusedByAnyName: '',
      replacing: undefined,
    });
  });

  it('say nothing of what has expired on a node that is Ready', () => {
    assert.deepEqual(build({ health: dead, phase: 'Ready' }).expired, []);
  });

  it('tell who refuses, what the agent says, or that nothing is heard, in this order', () => {
    const identity = { serial: 'id', notAfterMs: now + hour, revokedBy: 'entry 1 of x' };
    const words = { state: 'Expired', error: 'no answer', errorCode: 'Unavailable' };
    assert.equal(build({ health: of(aged('a', 97, words), { identity }) }).failure, 'its identity is refused by entry 1 of x');
    assert.equal(build({ health: of({ ...aged('a', 97, words), revokedBy: 'entry 2 of x' }) }).failure, 'a is refused by entry 2 of x');
    assert.match(build({ health: of(aged('a', 97, words), silent) }).failure, /no answer/);
    assert.equal(build({ health: of(aged('a', 97), silent) }).failure, `nothing is heard of it since ${new Date(now).toISOString()}`);
    assert.ok(build({ health: of(aged('a', 97, { ...words, error: 'x'.repeat(1e6) })) }).failure.length <= 300);
  });

  it('name the entries that would refuse a new node, and those that would whatever its name is', () => {
    const matches = [
      match('DNS', 'w-1.example'),
      match('Group', 'system:nodes', 1),
      match('DNS', '.example', 2),
      match('IP', '192.0.2.1', 3),
    ];
    const { refusedInFuture, refusedByAnyName } = build({ health: dead, matches });
    assert.match(refusedInFuture, /^entry 1 \(DNS w-1\.example\) of RenewRevocation incident, entry 2 .*, entry 3 .* and 1 more$/);
    assert.equal(
      refusedByAnyName,
      'entry 2 (Group system:nodes) of RenewRevocation incident, entry 3 (DNS .example) of RenewRevocation incident',
    );
    assert.equal(build({ matches }).refusedInFuture, '', 'nobody is asked about whose certificates are good');
  });

  it('hold a cordon until its time is over', () => {
    const cordon = { atMs: now - hour, by: 'admin/ada', reason: 'disk', untilMs: now + 1 };
    assert.deepEqual(build({ record: { cordon } }).cordon, { by: 'admin/ada', reason: 'disk', untilMs: now + 1 });
    assert.equal(build({ record: { cordon: { ...cordon, untilMs: now } } }).cordon, undefined);
    const { untilMs: _none, ...endless } = cordon;
    assert.deepEqual(build({ record: { cordon: endless } }).cordon, { by: 'admin/ada', reason: 'disk' });
  });

  it('tell of the replacement under way, of a repair and of a node that has not joined', () => {
    assert.deepEqual(build({ record: { replacement: { id: 'rp-1' } } }).replacing, { id: 'rp-1', step: 'step of rp-1' });
    assert.equal(build({ health: { repairing: true } }).repairing, true);
    assert.equal(build({ record: { identitySerials: [] } }).joined, false);
  });
});
