const pattern = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d{1,9})?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/** Milliseconds of a date and time of RFC 3339, a fraction of a millisecond counted as a whole one; undefined for all else. */
export function parseRfc3339(text: string): number | undefined {
  const match = pattern.exec(text);
  if (!match) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [number, number, number, number, number, number];
  const [, , , , , , , fraction = '.0', sign = '+', offsetHours = '0', offsetMinutes = '0'] = match;
  const offset = { hours: Number(offsetHours), minutes: Number(offsetMinutes) };
  // Second 60 is a leap second.
  if (hour > 23 || minute > 59 || second > 60 || offset.hours > 23 || offset.minutes > 59) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  const minutes = hour * 60 + minute - (sign === '-' ? -1 : 1) * (offset.hours * 60 + offset.minutes);
  // 0.07 * 1000 is a little more than 70: digits, not numbers, tell what is beyond the millisecond.
  const milliseconds = Number(fraction.slice(1, 4).padEnd(3, '0')) + (/[1-9]/.test(fraction.slice(4)) ? 1 : 0);
  return date.getTime() + minutes * 60_000 + second * 1000 + milliseconds;
}

/** UTC, milliseconds only where there are some. */
export function formatRfc3339(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z');
}
