/**
 * Times at which the wall clock was set while this coordinator ran. Nobody can tell which of the two times was right: by a clock that went forward, a certificate that was issued before may end too
 * early, and must not cost a worker its machine. Pure.
 */
import type { ClockLeap } from './types.ts';

const maxLeaps = 100;
/** No certificate is older: lives are shorter, or nothing is known of so long ago. */
const maxAgeMs = 31 * 86_400_000;

/** With the newest; without what is long over. */
export function withLeap(leaps: readonly ClockLeap[], leap: ClockLeap): ClockLeap[] {
  const nowMs = leap.atMs + leap.byMs;
  return [...leaps.filter(({ atMs }) => nowMs - atMs < maxAgeMs), leap].slice(-maxLeaps);
}

/** By how much the clock shows more than it did at some time since then, by the clock of that time: any of these may have been right. A leap that was taken back counts no more. */
export function aheadMs(leaps: readonly ClockLeap[] | undefined, sinceMs: number): number {
  return leaps?.reduce((ms, { atMs, byMs }) => (atMs >= sinceMs ? Math.max(0, ms + byMs) : ms), 0) ?? 0;
}
