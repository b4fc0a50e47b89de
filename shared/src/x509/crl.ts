/** Makes CRLs (RFC 5280 section 5): complete and numbered, never deltas. */
import { EvercertError } from '../errors/index.ts';
import {
  bitString,
  contextConstructed,
  element,
  enumerated,
  objectIdentifier,
  octetString,
  sequence,
  smallInteger,
  time,
  unsignedInteger,
} from './der.ts';
import type { PreparedIssuer } from './issue.ts';
import { oids } from './oids.ts';
import { extension } from './raw-extensions.ts';
import { type CrlReason, reasonCodes } from './revocation-reasons.ts';
import { normalizeSerial } from './serial.ts';

/** More entries would leave the 16 MiB that a length of three bytes can tell. */
export const maxCrlEntries = 200_000;
/** RFC 5280 section 5.2.3: 20 octets. */
const maxNumberBits = 159n;

export interface CrlEntry {
  /** Hex. */
  serial: string;
  revokedAt: Date;
  reason: CrlReason;
}

export interface CrlContents {
  issuer: PreparedIssuer;
  /** CRL number, from 0. It must grow from list to list of one CA. */
  number: number | bigint;
  thisUpdate: Date;
  nextUpdate: Date;
  revoked: readonly CrlEntry[];
}

/**
 * Signs a complete v2 CRL in DER: authority key identifier, CRL number, the entries in order of their serials, a reason for each but `unspecified`. Times are cut to whole seconds.
 * InvalidArgument: a serial, number or time that cannot stand in it, a serial that is there twice, more than 200,000 entries.
 */
export async function createCrl({ issuer, number, thisUpdate, nextUpdate, revoked }: CrlContents): Promise<Buffer> {
  if (!(thisUpdate.getTime() < nextUpdate.getTime())) throw invalid('it must be made before its next update is due');
  const extensions = [issuer.authorityKeyIdentifier, extension(objectIdentifier(oids.cRLNumber), false, encodeNumber(number))];
  const list = encodeEntries(revoked);
  const tbs = sequence(
    smallInteger(1),
    issuer.algorithm,
    issuer.name,
    time(thisUpdate),
    time(nextUpdate),
    // An empty list must be left out (RFC 5280 section 5.1.2.6).
    ...(list.length === 0 ? [] : [element(0x30, list)]),
    contextConstructed(0, sequence(...extensions)),
  );
  return sequence(tbs, issuer.algorithm, bitString(await issuer.signer.sign(tbs)));
}

function encodeNumber(number: number | bigint): Buffer {
  if (typeof number === 'number' && !Number.isSafeInteger(number)) throw invalid(`its number is a whole number, not ${number}`);
  const value = BigInt(number);
  if (value < 0n || value >> maxNumberBits !== 0n) throw invalid('its number has from 0 to 159 bits');
  const hex = value.toString(16);
  return unsignedInteger(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex'));
}

/** Each reason's crlEntryExtensions; unspecified has none (RFC 5280 section 5.3.1). */
const reasonExtensions = new Map(
  Object.entries(reasonCodes).map(([reason, code]) => [
    reason,
    code === 0 ? Buffer.alloc(0) : sequence(sequence(objectIdentifier(oids.reasonCode), octetString(enumerated(code)))),
  ]),
);

/**
 * All entries in a row. A list can have a hundred thousand: they are written into one buffer directly, and time with reason, which most share with the one before, are encoded
 * when they change.
 */
function encodeEntries(revoked: readonly CrlEntry[]): Buffer {
  if (revoked.length > maxCrlEntries) throw invalid(`it has ${revoked.length} entries; at most ${maxCrlEntries} are allowed`);
  const sorted = revoked.map(({ serial, revokedAt, reason }) => ({ serial: normalizeSerial(serial), revokedAt, reason })).sort(bySerial);
  const encodeRest = restEncoder();
  const out = Buffer.allocUnsafe(sorted.length * maxEntryBytes);
  let at = 0;
  let last = '';
  for (const { serial, revokedAt, reason } of sorted) {
    if (serial === last) throw invalid(`serial ${serial} is there twice`);
    last = serial;
    const rest = encodeRest(revokedAt, reason);
    const signByte = serial[0]! >= '8' ? 1 : 0;
    const serialBytes = serial.length / 2 + signByte;
    out[at++] = 0x30;
    out[at++] = 2 + serialBytes + rest.length;
    out[at++] = 0x02;
    out[at++] = serialBytes;
    if (signByte === 1) out[at++] = 0;
    at += out.write(serial, at, 'hex');
    at += rest.copy(out, at);
  }
  return out.subarray(0, at);
}

/** Heads, a serial of 20 bytes with a sign byte, a GeneralizedTime and a reason. */
const maxEntryBytes = 4 + 21 + 17 + 14;

/** By number: hex without leading zeros is greater when it is longer. */
function bySerial(a: CrlEntry, b: CrlEntry): number {
  return a.serial.length - b.serial.length || (a.serial < b.serial ? -1 : a.serial > b.serial ? 1 : 0);
}

/** What follows the serial. */
function restEncoder(): (revokedAt: Date, reason: CrlReason) => Buffer {
  let last = { ms: Number.NaN, reason: '' as string, bytes: Buffer.alloc(0) as Buffer };
  return (revokedAt, reason) => {
    const ms = revokedAt.getTime();
    if (ms === last.ms && reason === last.reason) return last.bytes;
    const extensions = reasonExtensions.get(reason);
    if (extensions === undefined) throw invalid(`"${String(reason).slice(0, 60)}" is no reason of RFC 5280`);
    if (Number.isNaN(ms)) throw invalid('a time of revocation is no time');
    last = { ms, reason, bytes: Buffer.concat([time(revokedAt), extensions]) };
    return last.bytes;
  };
}

function invalid(what: string): EvercertError {
  return new EvercertError('InvalidArgument', `a CRL cannot be made: ${what}`);
}
