import assert from 'node:assert/strict';
import { type CertificateView, type Failure, nextLook, plan, stateOf, timeLeftMs } from '@evercert/agent/certificates';
import { drawFor, renewalDueMs } from '@evercert/shared/schedule';

const now = 1_000_000_000;
const hour = 3_600_000;

function view(change: Partial<CertificateView> = {}): CertificateView {
  return {
    spec: { specHash: 'a', renewAt: 2 / 3, lifetimeSeconds: 96 * 3600, keyAlgorithm: 'ecdsa-p384' },
    installed: pair(),
    damaged: false,
    renewRequested: false,
    keyPrepared: false,
    ...change,
  };
}

function pair(ageMs = hour, specHash = 'a') {
  const issuedAtMs = now - ageMs;
  return {
    specHash,
    serial: '0a',
    issuedAtMs,
    notBeforeMs: issuedAtMs - 60_000,
    notAfterMs: issuedAtMs + 96 * hour,
    installedAtMs: issuedAtMs,
  };
}

function failure(change: Partial<Failure> = {}): Failure {
  return {
    code: 'Unavailable',
    message: '',
    retryable: true,
    attempts: 1,
    timeLeftMs: hour,
    retryAt: { wallMs: now + 5000, monotonicMs: 105_000 },
    ...change,
  };
}

function without(field: 'installed'): CertificateView {
  const { [field]: _, ...rest } = view();
  return rest;
}

const { issuedAtMs, notAfterMs } = pair();
const due = renewalDueMs({ issuedAtMs, notAfterMs, renewAt: 2 / 3, draw: drawFor('0a') });
const rsa = { specHash: 'a', renewAt: 2 / 3, lifetimeSeconds: 96 * 3600, keyAlgorithm: 'rsa-4096' as const };

describe('the planner', () => {
  it('looks again at the earliest of renewals, ends and tries', () => {
    const moment = { wallMs: now, monotonicMs: 100_000 };
    const never = Number.POSITIVE_INFINITY;
    assert.deepEqual(nextLook([], moment), { wallMs: never, retryInMs: never });
    assert.deepEqual(nextLook([view()], moment), { wallMs: due, retryInMs: never });
    const failed = view({ installed: pair(64 * hour), failure: failure() });
    assert.deepEqual(nextLook([view(), failed], moment), { wallMs: now + 5000, retryInMs: 5000 });
    const ending = view({ installed: { ...pair(64 * hour), notAfterMs: now + 1000 }, failure: failure() });
    assert.deepEqual(nextLook([ending, view()], moment), { wallMs: now + 1000, retryInMs: 5000 });
  });

  const table: [string, CertificateView, unknown][] = [
    ['issues what is not installed', without('installed'), { action: 'issue', reason: 'Initial' }],
    ['waits for the schedule', view(), { action: 'wait', wallMs: due }],
    ['renews when due', view({ installed: pair(64 * hour) }), { action: 'issue', reason: 'Scheduled' }],
    ['renews what has expired', view({ installed: pair(200 * hour) }), { action: 'issue', reason: 'Scheduled' }],
    ['issues again when the specification changed', view({ installed: pair(hour, 'b') }), { action: 'issue', reason: 'SpecChanged' }],
    ['issues again what is damaged', view({ damaged: true }), { action: 'issue', reason: 'FileDamaged' }],
    ['renews on request', view({ renewRequested: true }), { action: 'issue', reason: 'Requested' }],
    [
      'renews what was issued before the wanted time',
      view({ renewIfIssuedBeforeMs: now - hour + 1 }),
      { action: 'issue', reason: 'Requested' },
    ],
    ['keeps what was issued at the wanted time', view({ renewIfIssuedBeforeMs: now - hour }), { action: 'wait', wallMs: due }],
    ['does nothing while it is being issued', view({ damaged: true, issuing: 'FileDamaged' }), { action: 'wait' }],
    ['waits after a failure', view({ damaged: true, failure: failure() }), { action: 'wait', retryAt: failure().retryAt }],
    [
      'tries again once the monotonic clock has come that far, though the wall clock was set back',
      view({ damaged: true, failure: failure({ retryAt: { wallMs: now + 24 * hour, monotonicMs: 100_000 } }) }),
      { action: 'issue', reason: 'FileDamaged' },
    ],
    [
      'tries again once the wall clock has come that far, though the machine was suspended',
      view({ damaged: true, failure: failure({ retryAt: { wallMs: now, monotonicMs: 900_000 } }) }),
      { action: 'issue', reason: 'FileDamaged' },
    ],
    ['makes an RSA key ahead of need', view({ spec: rsa, installed: pair(56 * hour) }), { action: 'prepare' }],
    ['waits with an RSA key until it is needed', view({ spec: rsa }), { action: 'wait', wallMs: due - 9.6 * hour }],
    ['does not make the RSA key twice', view({ spec: rsa, keyPrepared: true }), { action: 'wait', wallMs: due }],
  ];
  for (const [name, given, expected] of table) {
    it(name, () => assert.deepEqual(plan(given, { wallMs: now, monotonicMs: 100_000 }), expected));
  }
});

describe('the state of a certificate', () => {
  const table: [string, CertificateView][] = [
    ['Pending', without('installed')],
    ['Pending', { ...without('installed'), failure: failure() }],
    ['Failed', { ...without('installed'), failure: failure({ code: 'NotFound', retryable: false }) }],
    ['Issuing', { ...without('installed'), issuing: 'Initial' }],
    ['Ready', view()],
    ['Ready', view({ issuing: 'Scheduled' })],
    ['Issuing', view({ installed: pair(hour, 'b') })],
    ['Issuing', view({ damaged: true })],
    ['RenewalFailing', view({ failure: failure() })],
    ['Expired', view({ installed: pair(96 * hour) })],
    ['Expired', view({ installed: pair(96 * hour), failure: failure() })],
  ];
  for (const [state, given] of table) {
    const { installed, damaged, issuing, failure: failed } = given;
    const what = `${installed ? `installed ${(now - installed.issuedAtMs) / hour} h ago as ${installed.specHash}` : 'not installed'}${damaged ? ', damaged' : ''}${issuing ? ', being issued' : ''}${failed ? `, failed with ${failed.code}` : ''}`;
    it(`is ${state} when ${what}`, () => assert.equal(stateOf(given, now), state));
  }

  it('leaves the time until the end for retries, and a third of a life when there is no end ahead', () => {
    assert.equal(timeLeftMs(view(), now), 95 * hour);
    assert.equal(Math.round(timeLeftMs(without('installed'), now)), 32 * hour);
    assert.equal(Math.round(timeLeftMs(view({ installed: pair(100 * hour) }), now)), 32 * hour);
  });
});
