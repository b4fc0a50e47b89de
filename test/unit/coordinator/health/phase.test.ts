import assert from 'node:assert/strict';
import { type CertificateFacts, type ConditionType, type HealthFacts, type NodePhase, nextState } from '@evercert/coordinator';
import { aged, certificate, facts, hour, now, part } from '../../../support/health.ts';

const silent = { silentMs: 40_001 };
const none = { serial: '', notAfterMs: 0, nextRenewalAtMs: undefined, state: 'Pending' };
const b = certificate('b');
const withB = (one: CertificateFacts, change: Partial<HealthFacts> = {}): Partial<HealthFacts> => ({ certificates: [one, b], ...change });
const failing = (ageHours: number) => aged('a', ageHours, { state: 'RenewalFailing', error: 'why', errorCode: 'Unavailable' });
const repairing = { repairing: true };
const replacing = { replacing: 'rp-1' };
const newest = { serial: 'a-2', issuedAtMs: now - hour, notAfterMs: now + 95 * hour };
const left = (issuedAgoMs: number) =>
  certificate(
    'a',
    { origin: 'superseded' },
    { issued: { serial: 'a-2', issuedAtMs: now - issuedAgoMs, notAfterMs: now - issuedAgoMs + 96 * hour } },
  );
const leftOfAMinute = (issuedAgoMs: number) =>
  certificate(
    'a',
    { origin: 'superseded' },
    { issued: { serial: 'a-2', issuedAtMs: now - issuedAgoMs, notAfterMs: now - issuedAgoMs + 60_000 } },
  );

/** T, F and U stand for the statuses of Ready, Reachable, CertificatesValid, RenewalsSucceeding, ComponentsServing, TrustBundleCurrent. */
const cases: [
  what: string,
  change: Partial<HealthFacts>,
  phase: NodePhase,
  statuses: string,
  message: RegExp,
  reason?: [ConditionType, string],
][] = [
  // Coming and going.
  [
    'registered, never joined',
    { joined: false, silentMs: undefined, reported: false },
    'Registered',
    'UUUUUU',
    /not joined/,
    ['Ready', 'NotJoined'],
  ],
  ['joined, never heard of', { silentMs: undefined, reported: false }, 'Joining', 'UUUUUU', /not reported/, ['Reachable', 'NeverSeen']],
  ['connected, without a report', { reported: false }, 'Joining', 'UTUUUU', /not reported/, ['CertificatesValid', 'NotReported']],
  ['all in place', {}, 'Ready', 'TTTTTT', /^$/, ['Ready', 'AllInPlace']],
  ['nothing declared', { certificates: [], parts: [] }, 'Ready', 'TTTTTT', /^$/],
  ['deleted', { removed: true }, 'Removed', 'UUUUUU', /deleted/, ['Reachable', 'NodeRemoved']],
  ['deleted while everything was wrong', { removed: true, ...silent, certificates: [failing(200)] }, 'Removed', 'UUUUUU', /deleted/],

  // Silence.
  ['silent for exactly the allowed time', { silentMs: 40_000 }, 'Ready', 'TTTTTT', /^$/],
  ['silent for longer', silent, 'Unreachable', 'UFUUUU', /no heartbeat since 2026-01-05T00/, ['Reachable', 'HeartbeatsMissing']],
  ['silent, last seen at no known time', { ...silent, lastSeenAtMs: undefined }, 'Unreachable', 'UFUUUU', /^no heartbeat$/],
  ['silent, before it ever reported', { ...silent, reported: false, certificates: [] }, 'Unreachable', 'UFUUUU', /no heartbeat/],
  [
    'silent, its last word a failing renewal',
    withB(failing(65), silent),
    'Unreachable',
    'UFUUUU',
    /no heartbeat/,
    ['RenewalsSucceeding', 'NodeUnreachable'],
  ],
  ['silent, its last word a missing bundle', { ...silent, parts: [part('trust bundle', false)] }, 'Unreachable', 'UFUUUU', /no heartbeat/],
  ['silent, half of its time for renewals over', withB(aged('a', 80), silent), 'Expiring', 'UFUUUU', /no heartbeat/],
  ['silent, its certificates at their end', withB(aged('a', 96), silent), 'Expired', 'FFFUUU', /a has expired/],
  [
    'silent, but a newer one was issued than it told of',
    withB({ ...aged('a', 96), issued: newest }, silent),
    'Unreachable',
    'UFUUUU',
    /no heartbeat/,
  ],
  [
    'silent, never told of the one that was issued, which ended',
    withB({ ...aged('a', 97), reported: undefined }, silent),
    'Expired',
    'FFFUUU',
    /a has expired/,
  ],
  [
    'silent, and never issued anything',
    { ...silent, certificates: [certificate('a', null, { issued: undefined })] },
    'Unreachable',
    'UFUUUU',
    /no heartbeat/,
  ],
  [
    'the wall clock stepped a day forward, and heartbeats come',
    { nowMs: now + 10 * hour, identity: { serial: 'id', notAfterMs: now + 48 * hour, revokedBy: undefined } },
    'Ready',
    'TTTTTT',
    /^$/,
  ],
  ['the wall clock stepped a day back', { nowMs: now - 24 * hour, lastSeenAtMs: now + 5 }, 'Ready', 'TTTTTT', /^$/],

  // From before a restart of the coordinator.
  [
    'a report from before a restart, a newer one issued since than it told of',
    withB({ ...aged('a', 96), issued: newest }, { fresh: false }),
    'Ready',
    'TTTTTT',
    /^$/,
  ],
  ['a report from before a restart, the newest issued ended', withB(aged('a', 96), { fresh: false }), 'Expired', 'FTFFTT', /a has expired/],

  // On its way.
  [
    'no certificate at first',
    { certificates: [certificate('a', none, { issued: undefined }), b] },
    'Joining',
    'FTFTTT',
    /a has not been issued$/,
    ['CertificatesValid', 'NotIssued'],
  ],
  [
    'a certificate of which the agent knows nothing yet',
    withB(certificate('a', null, { issued: undefined })),
    'Joining',
    'FTFTTT',
    /a has not been issued/,
  ],
  [
    'a first issue that is tried again',
    withB(certificate('a', { ...none, error: 'later', errorCode: 'Overloaded' }, { issued: undefined })),
    'Joining',
    'FTFFTT',
    /not been issued: later/,
    ['RenewalsSucceeding', 'IssueRetrying'],
  ],
  [
    'an old bundle',
    { parts: [part('trust bundle', false)] },
    'Joining',
    'FTTTTF',
    /trust bundle p is not in place$/,
    ['TrustBundleCurrent', 'BundleNotInPlace'],
  ],
  [
    'a revocation list that is missing',
    { parts: [part('revocation list', false)] },
    'Joining',
    'FTTTTF',
    /revocation list p/,
    ['TrustBundleCurrent', 'RevocationListNotInPlace'],
  ],
  [
    'a key pair that is missing',
    { parts: [part('key pair', false)] },
    'Joining',
    'FTFTTT',
    /key pair p/,
    ['CertificatesValid', 'NotInPlace'],
  ],
  ['a certificate under renewal', withB(certificate('a', { state: 'Issuing' })), 'Ready', 'TTTTTT', /^$/],

  // Failures.
  [
    'a first issue that is refused for good',
    withB(certificate('a', { ...none, state: 'Failed', error: 'no address', errorCode: 'InvalidArgument' }, { issued: undefined })),
    'RenewalFailing',
    'FTFFTT',
    /a is Failed: no address/,
    ['RenewalsSucceeding', 'IssueFailing'],
  ],
  ['a failing renewal', withB(failing(65)), 'RenewalFailing', 'FTTFTT', /a is RenewalFailing: why/, ['Ready', 'RenewalFailing']],
  ['a failing renewal on a control-plane node', withB(failing(65), { role: 'control-plane' }), 'RenewalFailing', 'FTTFTT', /why/],
  [
    'a bundle that cannot be written',
    { parts: [part('trust bundle', false, 'disk')] },
    'RenewalFailing',
    'FTTTTF',
    /trust bundle p is not in place: disk/,
  ],
  [
    'a bundle by which its component does not accept clients yet',
    { parts: [{ ...part('trust bundle'), served: 'NotServed', servedMessage: 'it names "CN=old"' }] },
    'Ready',
    'TTTTFT',
    /^$/,
    ['ComponentsServing', 'OtherAuthoritiesAccepted'],
  ],
  [
    'a bundle whose component does not answer',
    { parts: [{ ...part('trust bundle'), served: 'Unreachable' }] },
    'Ready',
    'TTTTFT',
    /^$/,
    ['ComponentsServing', 'ComponentUnreachable'],
  ],
  ['a bundle by which its component accepts clients', { parts: [{ ...part('trust bundle'), served: 'Served' }] }, 'Ready', 'TTTTTT', /^$/],
  ['a key pair that was refused', { parts: [part('key pair', false, 'no')] }, 'RenewalFailing', 'FTFTTT', /key pair p is not in place: no/],
  [
    'a folder where a file should be',
    withB(certificate('a', { error: '/x is a folder', errorCode: 'FileConflict' })),
    'RenewalFailing',
    'FTFTTT',
    /a is not in place: .x is a folder/,
    ['CertificatesValid', 'NotInPlace'],
  ],
  ['a full disk', withB(certificate('a', { error: 'full', errorCode: 'DiskFull' })), 'RenewalFailing', 'FTFTTT', /not in place: full/],
  ['a reload that failed', withB(certificate('a', { error: 'exit 1', errorCode: 'ReloadFailed' })), 'Ready', 'TTTTTT', /^$/],
  [
    'a manifest that does not resolve',
    { problems: ['x: no address'] },
    'RenewalFailing',
    'FTTFTT',
    /x: no address/,
    ['RenewalsSucceeding', 'ManifestUnresolved'],
  ],
  [
    'an identity that has expired, and is still heard',
    { identity: { serial: 'id', notAfterMs: now, revokedBy: undefined } },
    'RenewalFailing',
    'FTTFTT',
    /identity id has expired/,
    ['RenewalsSucceeding', 'IdentityExpired'],
  ],
  [
    'a node whose clock is ahead and calls its certificate ended',
    withB(certificate('a', { state: 'Expired' })),
    'RenewalFailing',
    'FTTFTT',
    /by the node's clock/,
  ],

  // Time runs out.
  ['a renewal just due', withB(aged('a', 64)), 'Ready', 'TTTTTT', /^$/],
  ['a renewal not quite overdue', withB(aged('a', 71.99)), 'Ready', 'TTTTTT', /^$/],
  [
    'a renewal overdue, without a word of failure',
    withB(aged('a', 72)),
    'RenewalFailing',
    'FTTFTT',
    /a was to be renewed/,
    ['RenewalsSucceeding', 'RenewalOverdue'],
  ],
  ['a failing renewal at half of its time', withB(failing(80)), 'Expiring', 'FTTFTT', /a is RenewalFailing: why/],
  [
    'a failing renewal at half of its time, the next try ahead of it',
    withB(aged('a', 80, { state: 'RenewalFailing', error: 'why', errorCode: 'Unavailable', nextRenewalAtMs: now + 60_000 })),
    'Expiring',
    'FTTFTT',
    /why/,
  ],
  ['a renewal that never began, at half of its time', withB(aged('a', 80)), 'Expiring', 'FTTFTT', /a was to be renewed/],
  [
    'the last millisecond',
    withB({ ...aged('a', 96), reported: { ...failing(96).reported!, notAfterMs: now + 1 } }),
    'Expiring',
    'FTTFTT',
    /why/,
  ],
  ['the very end', withB(failing(96)), 'Expired', 'FTFFTT', /a has expired: why/, ['CertificatesValid', 'Expired']],
  ['one that ran out, although the agent calls it Ready', withB(aged('a', 96)), 'Expired', 'FTFFTT', /a has expired/],
  [
    'one ended, another missing',
    { certificates: [aged('a', 97), certificate('b', none, { issued: undefined })] },
    'Expired',
    'FTFFTT',
    /a has expired; b has not been issued/,
  ],
  [
    'an end that only the record of a newer one contradicts',
    withB({ ...aged('a', 96, { origin: 'superseded' }), issued: newest }),
    'Expired',
    'FTFFTT',
    /a has expired/,
  ],
  [
    'a certificate of which no renewal time is told',
    withB({ ...aged('a', 81, { nextRenewalAtMs: undefined }) }),
    'Expiring',
    'FTTFTT',
    /was to be renewed/,
  ],

  // Inventory.
  [
    'a certificate that was never issued here',
    withB(certificate('a', { serial: 'ff', origin: 'unknown' })),
    'RenewalFailing',
    'FTFTTT',
    /never issued to it here: serial ff/,
    ['CertificatesValid', 'UnknownCertificate'],
  ],
  ['one not looked up yet', withB(certificate('a', { serial: 'ff', origin: 'unchecked' })), 'Ready', 'TTTTTT', /^$/],
  ['an earlier one, a newer issued a moment ago', withB(left(1000)), 'Ready', 'TTTTTT', /^$/],
  ['an earlier one, the newer not quite long enough ago', withB(left(5 * 60_000 - 1)), 'Ready', 'TTTTTT', /^$/],
  [
    'an earlier one, left behind',
    withB(left(5 * 60_000)),
    'RenewalFailing',
    'FTFTTT',
    /still has serial a-1 in place, although a-2/,
    ['CertificatesValid', 'StaleCertificate'],
  ],
  [
    'an earlier one of a life of a minute, ten seconds on',
    withB(leftOfAMinute(10_000)),
    'RenewalFailing',
    'FTFTTT',
    /a-2 was issued after it/,
  ],
  ['an earlier one of a life of a minute, nine seconds on', withB(leftOfAMinute(9_999)), 'Ready', 'TTTTTT', /^$/],
  ['a strange one that has ended too', withB(aged('a', 97, { serial: 'ff', origin: 'unknown' })), 'Expired', 'FTFFTT', /a has expired/],

  // Revocation.
  [
    'a certificate whose renewal is refused',
    withB({ ...certificate('a'), revokedBy: 'entry 1 of x' }),
    'RenewalFailing',
    'FTTFTT',
    /a is refused by entry 1 of x/,
    ['RenewalsSucceeding', 'Revoked'],
  ],
  [
    'the same, as the node tells it',
    withB(certificate('a', { state: 'Revoked', error: 'by x', errorCode: 'Revoked' })),
    'RenewalFailing',
    'FTTFTT',
    /a is Revoked: by x/,
  ],
  ['a revoked one near its end', withB({ ...aged('a', 90), revokedBy: 'x' }), 'Expiring', 'FTTFTT', /refused by x/],
  ['a revoked one that has ended', withB({ ...aged('a', 96), revokedBy: 'x' }), 'Expired', 'FTFFTT', /a has expired; a is refused by x/],
  ['a revoked one on a silent node', withB({ ...certificate('a'), revokedBy: 'x' }, silent), 'Unreachable', 'FFUFUU', /refused by x/],
  [
    'a revoked identity',
    { identity: { serial: 'id', notAfterMs: now + hour, revokedBy: 'entry 1 of x' } },
    'Revoked',
    'FTTFTT',
    /identity id is refused/,
    ['RenewalsSucceeding', 'IdentityRevoked'],
  ],
  [
    'a revoked identity of a node that is heard no more',
    { ...silent, identity: { serial: 'id', notAfterMs: now + hour, revokedBy: 'x' } },
    'Revoked',
    'FFUFUU',
    /identity id is refused/,
  ],
  [
    'a revoked identity before the first report',
    { silentMs: undefined, reported: false, identity: { serial: 'id', notAfterMs: now + hour, revokedBy: 'x' } },
    'Revoked',
    'FUUFUU',
    /identity id/,
  ],

  [
    'a revoked identity whose certificates have ended',
    withB(aged('a', 97), { identity: { serial: 'id', notAfterMs: now + hour, revokedBy: 'x' } }),
    'Expired',
    'FTFFTT',
    /a has expired; its identity id is refused by x/,
  ],

  // Replacement.
  ['its replacement under way', replacing, 'Replacing', 'FTTTTT', /^replacement rp-1 is under way$/, ['Ready', 'Replacing']],
  [
    'its replacement under way, while it is repaired and has ended',
    withB(failing(97), { ...replacing, ...repairing }),
    'Replacing',
    'FTFFTT',
    /rp-1/,
  ],
  [
    'a replacement whose new node has not joined',
    { joined: false, silentMs: undefined, reported: false, ...replacing },
    'Replacing',
    'FUUUUU',
    /rp-1/,
    ['Reachable', 'NotJoined'],
  ],
  ['deleted, while it was replaced', { removed: true, ...replacing }, 'Removed', 'UUUUUU', /deleted/],

  // Repair.
  ['a repair of what has ended', withB(failing(97), repairing), 'Repairing', 'FTFFTT', /a has expired/],
  ['a repair of a node that is not heard yet', { ...silent, ...repairing }, 'Repairing', 'UFUUUU', /no heartbeat/],
  ['a repair that is done, its window still open', repairing, 'Ready', 'TTTTTT', /^$/],
  [
    'a window for a node that never joined',
    { joined: false, silentMs: undefined, reported: false, ...repairing },
    'Registered',
    'UUUUUU',
    /not joined/,
  ],

  // Components: told, and no reason to call the node anything else.
  [
    'a component that serves the new certificate',
    withB(certificate('a', { served: 'Served' })),
    'Ready',
    'TTTTTT',
    /^$/,
    ['ComponentsServing', 'AllServing'],
  ],
  [
    'a component that serves the old one',
    withB(certificate('a', { served: 'NotServed' })),
    'Ready',
    'TTTTFT',
    /^$/,
    ['ComponentsServing', 'OtherCertificateServed'],
  ],
  [
    'a component that does not answer',
    withB(certificate('a', { served: 'Unreachable' })),
    'Ready',
    'TTTTFT',
    /^$/,
    ['ComponentsServing', 'ComponentUnreachable'],
  ],
  [
    'an unhealthy etcd',
    { components: [{ name: 'etcd', state: 'Unhealthy', message: 'no leader' }] },
    'Ready',
    'TTTTFT',
    /^$/,
    ['ComponentsServing', 'ComponentUnhealthy'],
  ],
  [
    'a healthy etcd',
    { components: [{ name: 'etcd', state: 'Healthy', message: '' }] },
    'Ready',
    'TTTTTT',
    /^$/,
    ['ComponentsServing', 'AllServing'],
  ],
];

describe("a node's phase and conditions", () => {
  for (const [what, change, phase, statuses, message, reason] of cases) {
    it(`is ${phase} with ${what}`, () => {
      const state = nextState(facts(change), undefined);
      assert.equal(state.phase, phase);
      assert.equal(state.conditions.map(({ status }) => status[0]).join(''), statuses);
      assert.match(state.message, message);
      if (reason) assert.equal(state.conditions.find(({ type }) => type === reason[0])?.reason, reason[1]);
      assert.ok(
        state.conditions.every(({ lastTransitionMs, reason: why }) => lastTransitionMs === facts(change).nowMs && /^[A-Z]\w+$/.test(why)),
      );
    });
  }

  it('tells five complaints, and how many more there are', () => {
    const many = Array.from({ length: 8 }, (_, at) => aged(`c${at}`, 97));
    assert.match(nextState(facts({ certificates: many }), undefined).message, /c4 has expired; and 3 more/);
    const chatty = aged('a', 97, { error: 'x'.repeat(1_000_000) });
    assert.ok(nextState(facts({ certificates: [chatty] }), undefined).message.length < 1000);
  });
});
