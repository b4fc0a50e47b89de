/** Keeps what is known of outages within bounds, never to the disadvantage of workers: what is put together counts as one long outage. Pure. */
import type { Outage } from './types.ts';

const maxOutages = 200;
const maxAgeMs = 31 * 86_400_000;
/** Nearer ones are one. */
const nearMs = 10_000;

/** Sorted, put together where they are near or too many, and without what is long over. */
export function tidyOutages(outages: readonly Outage[], nowMs: number): Outage[] {
  const sorted = outages
    .filter(({ untilMs }) => nowMs - untilMs < maxAgeMs)
    .toSorted((a, b) => a.fromMs - b.fromMs || a.untilMs - b.untilMs);
  let merged = mergeNearer(sorted, nearMs);
  for (let reachMs = nearMs * 2; merged.length > maxOutages; reachMs *= 2) merged = mergeNearer(merged, reachMs);
  return merged;
}

function mergeNearer(sorted: readonly Outage[], reachMs: number): Outage[] {
  const merged: Outage[] = [];
  for (const outage of sorted) {
    const last = merged.at(-1);
    if (last && outage.fromMs - last.untilMs <= reachMs) merged[merged.length - 1] = together(last, outage);
    else merged.push(outage);
  }
  return merged;
}

/** The longer one tells why. */
function together(a: Outage, b: Outage): Outage {
  const longer = b.untilMs - b.fromMs > a.untilMs - a.fromMs ? b : a;
  return { fromMs: Math.min(a.fromMs, b.fromMs), untilMs: Math.max(a.untilMs, b.untilMs), why: longer.why };
}
