/** Whether a certificate's renewal failed while this coordinator could have renewed it (invariant 13). Pure. */
import { formatRfc3339 } from '@evercert/shared/manifest';
import type { AvailabilityFacts, Outage, ReplacementFacts } from './types.ts';

type ExpiredCertificate = ReplacementFacts['expired'][number];

export type Evidence = { enough: true } | { enough: false; message: string; againAtMs?: number };

/**
 * The coordinator was there for at least half of the time between the renewal's due time and the certificate's end; or, after it was away, it has been there for as long again since it came
 * back. Where it is not known when the renewal was due, it must have been well at the end and ever since.
 */
export function evidenceOf({ dueMs, endMs }: ExpiredCertificate, availability: AvailabilityFacts, nowMs: number): Evidence {
  const { healthySinceMs, outages } = availability;
  const windowMs = endMs - dueMs;
  if (windowMs <= 0) {
    if (healthySinceMs !== undefined && healthySinceMs <= endMs && availableMs(endMs, nowMs, outages) === nowMs - endMs)
      return { enough: true };
    return { enough: false, message: 'it is not known when its renewal was due, and the coordinator has not been well ever since its end' };
  }
  const thereMs = availableMs(dueMs, endMs, outages);
  if (thereMs * 2 >= windowMs) return { enough: true };
  const sinceMs = healthySinceMs === undefined ? 0 : availableMs(healthySinceMs, nowMs, outages);
  if (sinceMs >= windowMs) return { enough: true };
  const share = Math.floor((thereMs * 100) / windowMs);
  const message = `the coordinator was there for ${share}% of the time between the renewal's due time ${formatRfc3339(dueMs)} and the certificate's end ${formatRfc3339(endMs)}, at least 50% is needed to blame the worker${lastOutage(outages, dueMs, endMs)}`;
  return healthySinceMs === undefined ? { enough: false, message } : { enough: false, message, againAtMs: nowMs + windowMs - sinceMs };
}

/** Time between the two in which it was not away; outages may overlap, and come in any order. */
export function availableMs(fromMs: number, untilMs: number, outages: readonly Outage[]): number {
  let reachedMs = fromMs;
  let thereMs = 0;
  const within = outages.filter((outage) => outage.fromMs < untilMs && outage.untilMs > fromMs);
  for (const outage of within.toSorted((a, b) => a.fromMs - b.fromMs)) {
    thereMs += Math.max(0, outage.fromMs - reachedMs);
    reachedMs = Math.max(reachedMs, outage.untilMs);
  }
  return thereMs + Math.max(0, untilMs - reachedMs);
}

function lastOutage(outages: readonly Outage[], fromMs: number, untilMs: number): string {
  const last = outages.findLast((outage) => outage.fromMs < untilMs && outage.untilMs > fromMs);
  if (!last) return '';
  const from = last.fromMs > 0 ? `from ${formatRfc3339(last.fromMs)} ` : '';
  return ` (last away ${from}until ${formatRfc3339(last.untilMs)}: ${last.why})`;
}
