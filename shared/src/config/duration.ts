const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A century: longer is a mistake, and far below where milliseconds lose precision. */
const maxMs = 36_525 * 86_400_000;

export const durationExample = 'a duration with units, such as "96h", "1h30m", "10m", "30s", "500ms" or "4d"';

/** Milliseconds of a duration in Go's notation (h, m, s, ms) with d for days of 24 hours; undefined if it is none. Not negative, a century at most. */
export function tryParseDuration(text: string): number | undefined {
  if (!/^(?:\d{1,12}(?:\.\d{1,6})?(?:ms|[smhd])){1,5}$/.test(text)) return undefined;
  let totalMs = 0;
  let previousUnit = Number.POSITIVE_INFINITY;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)) {
    const unitLength = unitMs[unit!]!;
    // Each unit once and from large to small: "1m30m" is a typing error, not 31 minutes.
    if (unitLength >= previousUnit) return undefined;
    previousUnit = unitLength;
    totalMs += Number(amount) * unitLength;
  }
  // Fractions such as 0.1h are binary: what is within a rounding error of a whole millisecond is meant to be one.
  const wholeMs = Math.round(totalMs);
  return Math.abs(totalMs - wholeMs) < 1e-6 && wholeMs <= maxMs ? wholeMs : undefined;
}

/** Go's way: `96h`, `1h30m`, `30s`, `500ms`, `0s`; hours are the largest unit. Milliseconds in; `tryParseDuration` gives them back. */
export function formatDuration(ms: number): string {
  let leftMs = Math.max(0, Math.round(ms));
  let text = '';
  for (const unit of ['h', 'm', 's', 'ms']) {
    const count = Math.floor(leftMs / unitMs[unit]!);
    leftMs -= count * unitMs[unit]!;
    if (count > 0) text += `${count}${unit}`;
  }
  return text || '0s';
}
