const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
const year = 365 * day;

/** As kubectl shows ages: k8s.io/apimachinery/pkg/util/duration HumanDuration. Milliseconds. */
export function humanDuration(ms: number): string {
  if (ms < -second) return '<invalid>';
  const seconds = Math.max(0, Math.floor(ms / second));
  if (seconds < 120) return `${seconds}s`;
  if (ms < 10 * minute) return pair(ms, minute, 'm', second, 's');
  if (ms < 3 * hour) return `${Math.floor(ms / minute)}m`;
  if (ms < 8 * hour) return pair(ms, hour, 'h', minute, 'm');
  if (ms < 2 * day) return `${Math.floor(ms / hour)}h`;
  if (ms < 8 * day) return pair(ms, day, 'd', hour, 'h');
  if (ms < 2 * year) return `${Math.floor(ms / day)}d`;
  if (ms < 8 * year) return pair(ms, year, 'y', day, 'd');
  return `${Math.floor(ms / year)}y`;
}

function pair(ms: number, large: number, largeUnit: string, small: number, smallUnit: string): string {
  const rest = Math.floor((ms % large) / small);
  return `${Math.floor(ms / large)}${largeUnit}${rest === 0 ? '' : `${rest}${smallUnit}`}`;
}

const units = [
  [year, 'y'],
  [day, 'd'],
  [hour, 'h'],
  [minute, 'm'],
  [second, 's'],
] as const;

/** The two largest units: `2h11m`, `3d20h`, `45s`. Milliseconds, rounded down. */
export function twoUnits(ms: number): string {
  const at = units.findIndex(([size]) => ms >= size);
  if (at < 0) return '0s';
  const [size, unit] = units[at]!;
  const next = units[at + 1];
  return next ? pair(ms, size, unit, next[0], next[1]) : `${Math.floor(ms / size)}${unit}`;
}

/** Time since, as kubectl's AGE column; `<unknown>` without a time. */
export function age(time: Date | undefined, nowMs: number): string {
  return time ? humanDuration(nowMs - time.getTime()) : '<unknown>';
}

/** `in 2h11m`, `expired 3m ago`, or `<none>`. */
export function expiry(time: Date | undefined, nowMs: number): string {
  if (!time) return '<none>';
  const left = time.getTime() - nowMs;
  return left > 0 ? `in ${twoUnits(left)}` : `expired ${twoUnits(-left)} ago`;
}

/** RFC 3339 in whole seconds, as Kubernetes writes times. */
export function timestamp(time: Date): string {
  return time.toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** For describe: `2026-01-01T00:00:00Z (in 2h11m)`. */
export function timeWithExpiry(time: Date | undefined, nowMs: number): string {
  return time ? `${timestamp(time)} (${expiry(time, nowMs)})` : '<none>';
}

/** For describe: `2026-01-01T00:00:00Z (5m ago)`. */
export function timeWithAge(time: Date | undefined, nowMs: number): string {
  return time ? `${timestamp(time)} (${humanDuration(nowMs - time.getTime())} ago)` : '<none>';
}
