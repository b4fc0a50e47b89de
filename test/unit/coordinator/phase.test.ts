import assert from 'node:assert/strict';
import { nodePhase, type PhaseQuestion } from '@evercert/coordinator';
import { DesiredState, StatusReport } from '@evercert/proto';

const nowMs = Date.parse('2026-01-01T12:00:00Z');
const desired = DesiredState.fromPartial({
  certificates: [{ name: 'a' }, { name: 'b' }],
  bundles: [{ name: 'ca', version: 2 }],
  keyPairs: [{ name: 'sa' }],
});
const good = { state: 'Ready', serial: '01', notAfter: new Date(nowMs + 1000), issuedTotal: 1 };

function report(change: Parameters<typeof StatusReport.fromPartial>[0] = {}): StatusReport {
  return StatusReport.fromPartial({
    certificates: [
      { name: 'a', ...good },
      { name: 'b', ...good },
    ],
    bundles: [{ name: 'ca', version: 2, state: 'Ready' }],
    keyPairs: [{ name: 'sa', state: 'Ready' }],
    ...change,
  });
}

describe("a node's phase", () => {
  const base: PhaseQuestion = {
    joined: true,
    lastSeenAtMs: nowMs,
    report: report(),
    desired,
    problems: [],
    unreachableAfterMs: 40_000,
    nowMs,
  };
  const cases: [string, Partial<PhaseQuestion>, string, RegExp][] = [
    ['registered, never joined', { joined: false }, 'Registered', /not joined/],
    ['joined, never heard of', { lastSeenAtMs: undefined }, 'Joining', /not reported/],
    ['connected, without a report', { report: undefined }, 'Joining', /not reported/],
    ['all in place', {}, 'Ready', /^$/],
    ['silent for exactly the allowed time', { lastSeenAtMs: nowMs - 40_000 }, 'Ready', /^$/],
    ['silent for longer', { lastSeenAtMs: nowMs - 40_001 }, 'Unreachable', /no heartbeat since 2026/],
    [
      'a certificate under renewal',
      {
        report: report({
          certificates: [
            { name: 'a', ...good, state: 'Issuing' },
            { name: 'b', ...good },
          ],
        }),
      },
      'Ready',
      /^$/,
    ],
    [
      'a certificate that is missing at first',
      { report: report({ certificates: [{ name: 'a', ...good }] }) },
      'Joining',
      /b has not been issued/,
    ],
    [
      'a certificate that is missing later',
      { report: report({ certificates: [{ name: 'a', ...good, issuedTotal: 2 }] }) },
      'NotReady',
      /b has not been issued/,
    ],
    [
      'a failing renewal',
      {
        report: report({
          certificates: [
            { name: 'a', ...good, state: 'RenewalFailing', lastError: 'why' },
            { name: 'b', ...good },
          ],
        }),
      },
      'NotReady',
      /a is RenewalFailing: why/,
    ],
    [
      'a certificate that ran out, although the agent calls it Ready',
      {
        report: report({
          certificates: [
            { name: 'a', ...good, notAfter: new Date(nowMs) },
            { name: 'b', ...good },
          ],
        }),
      },
      'NotReady',
      /a has expired/,
    ],
    [
      'a folder where a file should be',
      {
        report: report({
          certificates: [
            { name: 'a', ...good, lastErrorCode: 'FileConflict', lastError: '/x is a folder' },
            { name: 'b', ...good },
          ],
        }),
      },
      'NotReady',
      /a is not in place: .x is a folder/,
    ],
    ['an old bundle', { report: report({ bundles: [{ name: 'ca', version: 1, state: 'Ready' }] }) }, 'Joining', /trust bundle ca/],
    ['a key pair that is not in place', { report: report({ keyPairs: [] }) }, 'Joining', /key pair sa/],
    ['a manifest that does not resolve', { problems: ['x: no address'] }, 'NotReady', /x: no address/],
  ];
  for (const [what, change, phase, message] of cases) {
    it(`is ${phase} with ${what}`, () => {
      const answer = nodePhase({ ...base, ...change });
      assert.equal(answer.phase, phase);
      assert.match(answer.message, message);
    });
  }
});
