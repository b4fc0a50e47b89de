/**
 * Coordinators and etcd members are killed under many agents: `npm run test:ha:chaos`. Set by EVERCERT_HA_MINUTES (20), EVERCERT_HA_AGENTS (200), EVERCERT_HA_SEED and, beside them, the options
 * below. Tells what happens on standard error; prints a summary as JSON last; exit code 1 when something is wrong.
 */
import { systemClock } from '@evercert/shared/clock';
import { runChaos } from './chaos/run.ts';

const number = (name: string, standard: number): number => {
  const value = Number(process.env[name] ?? standard);
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name}: expected a number, got "${process.env[name]}"`);
  return value;
};

const beganMs = systemClock.monotonicMs();
const summary = await runChaos({
  minutes: number('EVERCERT_HA_MINUTES', 20),
  agents: number('EVERCERT_HA_AGENTS', 200),
  hosts: number('EVERCERT_HA_HOSTS', 4),
  seed: number('EVERCERT_HA_SEED', 1),
  killEverySeconds: number('EVERCERT_HA_KILL_SECONDS', 20),
  leafSeconds: number('EVERCERT_HA_LEAF_SECONDS', 60),
  breakEverySeconds: number('EVERCERT_HA_BREAK_SECONDS', 90),
  tell: (text) => void process.stderr.write(`[${((systemClock.monotonicMs() - beganMs) / 1000).toFixed(1)}] ${text}\n`),
});
process.stdout.write(`${JSON.stringify(summary)}\n`);
process.exitCode = summary.problems.length === 0 ? 0 : 1;
