/** The YAML form of RenewRevocation, as the founding product had it, with `reason` and `includeSuccessors` beside. */
import { z } from 'zod';
import { canonicalAddress, describeValue, didYouMean } from '../config/index.ts';
import { toEvercertError } from '../errors/index.ts';
import { canonicalDnsPattern, canonicalGroup, revocationReasons } from '../revocation/index.ts';
import { normalizeSerial } from '../x509/index.ts';
import { manifestLimits } from './limits.ts';
import { valueFields } from './revocation.ts';
import { parseRfc3339 } from './rfc3339.ts';
import type { RevocationEntry, RevocationKind } from './types.ts';

/** Bounds on texts: 1,000 entries of this length stay within what the store takes. */
const revocationTextLimits = { description: 256, value: 256 } as const;

const kinds = Object.keys(valueFields) as RevocationKind[];
type ValueField = (typeof valueFields)[RevocationKind];

const description = z.string().max(revocationTextLimits.description).default('');
const value = z.string().max(revocationTextLimits.value).optional();

const rawEntry = z.strictObject({
  kind: z.string().max(64),
  serialNumber: value,
  group: value,
  dns: value,
  ip: value,
  notBefore: z.string().max(64).nullish(),
  description,
  reason: z.enum(revocationReasons).default('unspecified'),
  includeSuccessors: z.boolean().optional(),
});
type RawEntry = z.output<typeof rawEntry>;

/** Adds faults to what zod found, each with its field. */
type Report = (field: keyof RawEntry, message: string) => void;

const entry = rawEntry.transform((raw, context): RevocationEntry => {
  const report: Report = (field, message) => context.addIssue({ code: 'custom', path: [field], message });
  const before = context.issues.length;
  const kind = readKind(raw.kind, report);
  const notBeforeMs = readNotBefore(raw.notBefore, report);
  if (kind === undefined) return z.NEVER;
  refuseOtherFields(kind, raw, report);
  const canonical = readValue(kind, raw, report);
  if (canonical === undefined || context.issues.length > before) return z.NEVER;
  const base = { description: raw.description.trim(), reason: raw.reason, ...(notBeforeMs !== undefined && { notBeforeMs }) };
  if (kind === 'SerialNumber') return { ...base, kind, serialNumber: canonical, includeSuccessors: raw.includeSuccessors ?? true };
  return { ...base, kind, [valueFields[kind]]: canonical } as RevocationEntry;
});

export const renewRevocationSpec = z.strictObject({
  description: description.transform((text) => text.trim()),
  revocations: z.array(entry).min(1).max(manifestLimits.revocationEntries),
});

function readKind(text: string, report: Report): RevocationKind | undefined {
  const wanted = text.trim().toLowerCase();
  const found = kinds.find((kind) => kind.toLowerCase() === wanted);
  if (found === undefined) {
    const hint = didYouMean(text.trim(), kinds);
    report('kind', `unknown kind ${describeValue(text)}${hint || `; expected one of ${kinds.join(', ')}, in any case`}`);
  }
  return found;
}

function readNotBefore(text: string | null | undefined, report: Report): number | undefined {
  if (text === null) {
    // Left out, it means "all, present and future": that must not come by a slip.
    report('notBefore', 'expected a time as "2020-04-17T17:22:05Z", found nothing; leave the key out to revoke all, present and future');
    return undefined;
  }
  if (text === undefined) return undefined;
  const ms = parseRfc3339(text.trim());
  if (ms === undefined) report('notBefore', `expected a time of RFC 3339, as "2020-04-17T17:22:05Z", found ${describeValue(text)}`);
  return ms;
}

/** What another kind has its value in: a slip that would revoke something else than was meant. */
function refuseOtherFields(kind: RevocationKind, raw: RawEntry, report: Report): void {
  const own: string = valueFields[kind];
  for (const field of Object.values(valueFields)) {
    if (field !== own && raw[field] !== undefined) {
      report(
        field,
        `an entry of kind ${kind} has its value in ${own}; remove this, or make it an entry of its own with kind: ${kindOf(field)}`,
      );
    }
  }
  if (kind !== 'SerialNumber' && raw.includeSuccessors !== undefined) {
    report('includeSuccessors', `only an entry of kind SerialNumber has successors; remove it`);
  }
}

function kindOf(field: ValueField): RevocationKind {
  return kinds.find((kind) => valueFields[kind] === field) as RevocationKind;
}

function readValue(kind: RevocationKind, raw: RawEntry, report: Report): string | undefined {
  const field = valueFields[kind];
  const text = raw[field];
  if (text === undefined || text.trim() === '') {
    report(
      field,
      `${text === undefined ? 'missing; ' : ''}expected ${expectations[kind]}${text === undefined ? '' : ', found empty text'}`,
    );
    return undefined;
  }
  const read = readers[kind](text);
  if ('value' in read) return read.value;
  report(field, read.fault);
  return undefined;
}

const expectations: Record<RevocationKind, string> = {
  SerialNumber: 'a serial number in hexadecimal, as "77fdf4b1033b387aaace6ce1c18710c2"',
  Group: 'a group (an organization of the subject), as "system:nodes"',
  DNS: 'a DNS name, as "kubernetes.default.svc", or a suffix, as ".cluster.local"',
  IP: 'an IPv4 or IPv6 address',
};

const readers: Record<RevocationKind, (text: string) => { value: string } | { fault: string }> = {
  SerialNumber: (text) => {
    try {
      return { value: normalizeSerial(text) };
    } catch (error) {
      return { fault: toEvercertError(error).message };
    }
  },
  Group: (text) => ({ value: canonicalGroup(text) }),
  DNS: (text) => {
    const read = canonicalDnsPattern(text);
    return 'value' in read ? read : { fault: `${read.fault}; found ${describeValue(text)}` };
  },
  IP: (text) => {
    const address = canonicalAddress(text.trim());
    return address === undefined ? { fault: `expected ${expectations.IP}, found ${describeValue(text)}` } : { value: address };
  },
};
