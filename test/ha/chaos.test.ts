/**
 * Acceptance: coordinators and etcd members are killed at random under agents whose certificates live for seconds, workers are switched off and replaced, and an independent judge finds nothing
 * wrong afterwards. Short here; `npm run test:ha:chaos` is the long run, and EVERCERT_HA_MINUTES sets the length of either.
 */
import assert from 'node:assert/strict';
import { Coordinators } from '../support/coordinators.ts';
import { type ChaosSummary, runChaos } from './chaos/run.ts';

const minutes = Number(process.env['EVERCERT_HA_MINUTES'] ?? 2);
const agents = Number(process.env['EVERCERT_HA_AGENTS'] ?? 16);

describe('coordinators and etcd members that are killed at random', function () {
  this.timeout(minutes * 60_000 + 400_000);
  let summary: ChaosSummary;

  before(async function () {
    if (!Coordinators.possible()) {
      process.stderr.write('skipped: killing coordinators and etcd members needs `etcd`, which this machine does not have\n');
      this.skip();
    }
    const lines: string[] = [];
    const tell = (text: string): void => void lines.push(text);
    const times = { killEverySeconds: 12, leafSeconds: 45, breakEverySeconds: 15 };
    summary = await runChaos({ minutes, agents, hosts: 2, seed: 3, ...times, tell }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${lines.join('\n')}`, { cause: error });
    });
    if (summary.problems.length > 0) process.stderr.write(`${lines.join('\n')}\n${JSON.stringify(summary)}\n`);
  });

  it('let no certificate lapse, none be issued or recorded twice, and no step of a replacement be done twice', () => {
    assert.deepEqual(summary.verdict['faults'], []);
    assert.deepEqual(summary.problems, []);
  });

  it('were killed, the one that led among them, while certificates were renewed and workers replaced', () => {
    const { renewals, replacements } = summary.verdict as Record<string, number>;
    assert.ok(summary.coordinatorKills > 0 && summary.memberKills > 0, JSON.stringify(summary));
    assert.ok(renewals! > agents && replacements! > 0, JSON.stringify(summary.verdict));
  });

  it('cost agents seconds to reconnect, and no other leader was later than 15 s', () => {
    assert.ok((summary.reconnectMs.p99 ?? 0) < 10_000, JSON.stringify(summary.reconnectMs));
    assert.ok((summary.electionSeconds.max ?? 0) < 15, JSON.stringify(summary.electionSeconds));
  });
});
