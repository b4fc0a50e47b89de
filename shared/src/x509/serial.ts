import { randomBytes } from 'node:crypto';
import { EvercertError } from '../errors/index.ts';
import { unsignedInteger } from './der.ts';

/**
 * A new serial: 128 random bits as 32 lower-case hex digits. A draw whose first byte is zero is repeated: DER drops leading zeros, and so every serial reads back
 * from its certificate as the very text it was stored under.
 */
export function newSerial(random: (bytes: number) => Buffer = randomBytes): string {
  for (;;) {
    const bytes = random(16);
    if (bytes[0] !== 0) return bytes.toString('hex');
  }
}

/**
 * The one text of a serial, from the ways in which people and tools write it: upper or lower case, with colons or spaces, with 0x or leading zeros.
 * InvalidArgument: not hex, zero, or more than 20 bytes.
 */
export function normalizeSerial(text: string): string {
  const digits = text.trim().replace(/^0x/i, '').replace(/[: ]/g, '').replace(/^0+/, '').toLowerCase();
  if (!/^[0-9a-f]{1,40}$/.test(digits)) {
    throw new EvercertError(
      'InvalidArgument',
      `${JSON.stringify(text.slice(0, 100))} is not a serial number; expected 1 to 40 hex digits, not all zero`,
    );
  }
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}

export function encodeSerial(serial: string): Buffer {
  return unsignedInteger(Buffer.from(normalizeSerial(serial), 'hex'));
}
