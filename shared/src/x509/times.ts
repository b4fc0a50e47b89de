import { type Asn1, content, hasTag } from './asn1.ts';

const utcTime = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;
const generalizedTime = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;

/** Reads UTCTime or GeneralizedTime in the forms of RFC 5280 section 4.1.2.5: UTC, with seconds, without fractions. */
export function readTime(node: Asn1 | undefined, what: string): Date {
  const text = content(node, what).toString('latin1');
  const match = hasTag(node, 0x17) ? utcTime.exec(text) : hasTag(node, 0x18) ? generalizedTime.exec(text) : null;
  if (match === null) throw new Error(`${what} is not a time`);
  const [yearDigits = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  const year = hasTag(node, 0x18) ? yearDigits : yearDigits < 50 ? 2000 + yearDigits : 1900 + yearDigits;
  const date = new Date(Date.UTC(2000, month - 1, day, hour, minute, second));
  date.setUTCFullYear(year);
  const exact = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  if (!exact) throw new Error(`${what} is not a time that exists`);
  return date;
}
