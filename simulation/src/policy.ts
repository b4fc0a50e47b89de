import {
  defaultReplacementPolicy,
  type MaintenanceWindow,
  type RecoveryPolicy,
  type ReplacementPolicy,
  type RoleName,
  weekdays,
} from '@evercert/shared/manifest';
import type { Random } from './random.ts';

const hourMs = 3600_000;

export interface ClusterRules {
  policy: ReplacementPolicy;
  recovery: Record<RoleName, RecoveryPolicy>;
}

/** Rules as different people would set them: mostly the defaults, some strict, some careless. */
export function drawRules(random: Random, startMs: number, days: number): ClusterRules {
  return { policy: drawPolicy(random, startMs, days), recovery: { 'control-plane': 'repair-window', worker: drawRecovery(random) } };
}

function drawRecovery(random: Random): RecoveryPolicy {
  if (random.chance(0.6)) return 'repair-window';
  return random.chance(0.5) ? 'automatic' : 'never';
}

function drawPolicy(random: Random, startMs: number, days: number): ReplacementPolicy {
  return {
    ...defaultReplacementPolicy,
    provisioner: random.chance(0.97) ? 'cloud' : '',
    mode: drawMode(random),
    graceSeconds: random.pick([0, 60, 600, 600, 600, 3600, 6 * 3600]),
    maxUnhealthy: random.pick(['40%', '40%', '40%', '10%', '25%', '100%', '1', '3', '5', '20']),
    maxConcurrent: random.pick([1, 1, 1, 2, 5]),
    maxPerHour: random.pick([6, 6, 6, 1, 2, 20]),
    drainTimeoutSeconds: random.pick([30, 300, 300, 1800]),
    joinTimeoutSeconds: random.pick([300, 900, 900, 3600]),
    backoffSeconds: random.pick([60, 600, 600]),
    maxBackoffSeconds: random.pick([3600, 6 * 3600]),
    maintenanceWindows: drawWindows(random, startMs, days),
  };
}

export function drawMode(random: Random): ReplacementPolicy['mode'] {
  if (random.chance(0.88)) return 'active';
  return random.chance(0.5) ? 'dry-run' : 'off';
}

function drawWindows(random: Random, startMs: number, days: number): MaintenanceWindow[] {
  return Array.from({ length: random.count(0.5) }, (_, at): MaintenanceWindow => {
    const selector = random.chance(0.5) ? {} : { labels: { rack: `rack-${random.whole(0, 3)}` } };
    const name = `window-${at}`;
    if (random.chance(0.5)) {
      const fromMs = startMs + Math.round(random.between(0, days * 24) * hourMs);
      return { name, selector, time: { type: 'once', fromMs, untilMs: fromMs + random.span(hourMs, 72 * hourMs) } };
    }
    const length = random.chance(0.3) ? 7 : random.whole(1, 3);
    const on = length === 7 ? [] : weekdays.filter(() => random.chance(length / 7));
    return {
      name,
      selector,
      time: { type: 'recurring', days: on, startMinutes: random.whole(0, 1439), durationSeconds: random.whole(600, 8 * 3600) },
    };
  });
}
