import type { SourceMap } from '../config/index.ts';
import { formatRfc3339 } from './rfc3339.ts';
import type { RenewRevocation, RevocationEntry } from './types.ts';

/** Fields of an entry that are text, whatever YAML takes them for. */
const textFields = ['kind', 'serialNumber', 'group', 'dns', 'ip', 'notBefore', 'description'] as const;

/**
 * The document with its entries' texts as they are written: YAML reads the serial numbers `1234`, `12e5` and `0x12` as numbers, and a long one loses digits
 * thereby.
 */
export function asWritten(value: unknown, source: SourceMap): unknown {
  const document = value as { spec?: { revocations?: unknown } };
  const entries = document.spec?.revocations;
  if (!Array.isArray(entries)) return value;
  const revocations = entries.map((entry: unknown, index) => {
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return entry;
    const texts = textFields.flatMap((field): [string, string][] => {
      const given = (entry as Record<string, unknown>)[field];
      const text =
        typeof given === 'number' || typeof given === 'boolean' ? source.textAt(['spec', 'revocations', index, field]) : undefined;
      return text === undefined ? [] : [[field, text]];
    });
    return texts.length === 0 ? entry : { ...entry, ...Object.fromEntries(texts) };
  });
  return { ...document, spec: { ...document.spec, revocations } };
}

/** The field in which each kind has its value. */
export const valueFields = { SerialNumber: 'serialNumber', Group: 'group', DNS: 'dns', IP: 'ip' } as const satisfies Record<
  RevocationEntry['kind'],
  string
>;

export function revocationValue(entry: RevocationEntry): string {
  switch (entry.kind) {
    case 'SerialNumber':
      return entry.serialNumber;
    case 'Group':
      return entry.group;
    case 'DNS':
      return entry.dns;
    case 'IP':
      return entry.ip;
  }
}

/** The spec in its YAML form; defaults are left out. */
export function revocationSpec({ description, revocations }: RenewRevocation['spec']): unknown {
  return {
    description: description === '' ? undefined : description,
    revocations: revocations.map((entry) => ({
      description: entry.description === '' ? undefined : entry.description,
      kind: entry.kind,
      [valueFields[entry.kind]]: revocationValue(entry),
      includeSuccessors: entry.kind === 'SerialNumber' && !entry.includeSuccessors ? false : undefined,
      notBefore: entry.notBeforeMs === undefined ? undefined : formatRfc3339(entry.notBeforeMs),
      reason: entry.reason === 'unspecified' ? undefined : entry.reason,
    })),
  };
}
