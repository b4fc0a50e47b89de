import { isOutdated, isUnreachable, scheduleOf, staleAtMs } from './certificates.ts';
import type { HealthFacts } from './types.ts';

/** When a node's health may change by time alone. */
export interface Due {
  /** By the wall clock; Infinity: never. */
  wallMs: number;
  /** From now, by the monotonic clock; Infinity: never. */
  silentForMs: number;
}

/** The next moments at which `nextState` may differ although nothing is reported. */
export function nextDue(facts: HealthFacts): Due {
  const unreachable = isUnreachable(facts);
  const { nowMs, silentMs, unreachableAfterMs, identity } = facts;
  const moments = facts.certificates.flatMap((one) => {
    const schedule = scheduleOf(one, isOutdated(facts));
    return [...(schedule ? [schedule.overdueMs, schedule.expiringMs, schedule.endMs] : []), staleAtMs(one) ?? 0];
  });
  const ahead = [...moments, identity.notAfterMs].filter((momentMs) => momentMs > nowMs);
  return {
    wallMs: ahead.reduce((least, momentMs) => Math.min(least, momentMs), Number.POSITIVE_INFINITY),
    // Unreachable means silent for longer than allowed, not for exactly as long.
    silentForMs: silentMs === undefined || unreachable ? Number.POSITIVE_INFINITY : unreachableAfterMs - silentMs + 1,
  };
}
