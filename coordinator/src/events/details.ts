import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { EvercertError } from '@evercert/shared/errors';
import { toYaml } from '@evercert/shared/manifest';
import { revocationDocument } from '../revocation/documents.ts';
import type { CertificateRecord, RevocationRecord, TokenRecord } from '../state/records.ts';
import type { EventDetails } from './recorder.ts';

/** What the audit log tells of a certificate that was issued, or taken over. */
export function certificateDetails(record: CertificateRecord): EventDetails {
  const { issuer, issuerSerial, spkiSha256, keyAlgorithm, notBeforeMs, notAfterMs, reason, tokenId } = record;
  return {
    issuer,
    issuerSerial,
    publicKeySha256: spkiSha256,
    keyAlgorithm,
    notBefore: iso(notBeforeMs),
    notAfter: iso(notAfterMs),
    issueReason: reason,
    tokenId,
  };
}

/** Limits of a token; never its secret, nor what its secret is told by. */
export function tokenDetails({
  id,
  role,
  nodeName,
  expiresAtMs,
  maxUses,
  labels,
  addresses,
  dnsNames,
  ...record
}: TokenRecord): EventDetails {
  return {
    tokenId: id,
    role,
    nodeName,
    expires: iso(expiresAtMs),
    maxUses,
    description: record.description,
    labels: Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(','),
    addresses: addresses.join(','),
    dnsNames: dnsNames.join(','),
    replacementId: record.replacementId,
    kubernetesGroups: record.kubernetes?.groups.join(','),
  };
}

/** A declared object by its canonical YAML. */
export function objectDetails(
  object: { kind: string; name: string; action: string; after: string },
  generation: number | undefined,
): EventDetails {
  return {
    kind: object.kind,
    name: object.name,
    action: object.action,
    generation,
    sha256: createHash('sha256').update(object.after).digest('hex'),
  };
}

/** Longer ones are packed: an event is written together with the object itself, and a transaction has its bounds. */
const maxPlain = 8 * 1024;
const maxUnpacked = 16 * 1024 * 1024;

/** The whole object, so that it can be put back from the audit log alone: see `revocationOfDetails`. */
export function revocationDetails(record: RevocationRecord): EventDetails {
  // As it was applied is kept with the object; its canonical form can be made of the rest.
  const json = JSON.stringify({ ...record, yaml: '' });
  const object = json.length <= maxPlain ? { revocation: json } : { revocationGzip: gzipSync(json).toString('base64') };
  return { name: record.name, generation: record.generation, source: record.source, entries: record.entries.length, ...object };
}

/** The object that an event tells of; undefined: it tells of none. DataLoss: it cannot be read. */
export function revocationOfDetails({ revocation, revocationGzip }: Readonly<Record<string, string>>): RevocationRecord | undefined {
  if (revocation === undefined && revocationGzip === undefined) return undefined;
  try {
    const json = revocation ?? gunzipSync(Buffer.from(revocationGzip ?? '', 'base64'), { maxOutputLength: maxUnpacked }).toString();
    const record = JSON.parse(json) as RevocationRecord;
    return { ...record, yaml: toYaml(revocationDocument(record)) };
  } catch (error) {
    throw new EvercertError('DataLoss', 'a revocation in the audit log cannot be read', { cause: error });
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
