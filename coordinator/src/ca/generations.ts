/**
 * The generations of a CA: the one that signs, the one that will, and those before. Pure: whoever rotates writes the record that comes out of this in a transaction of his own. What
 * a transition rests on is checked here once more; FailedPrecondition says what is missing.
 */
import { EvercertError } from '@evercert/shared/errors';
import { generationUrl, type RevocationUrls } from '@evercert/shared/manifest';
import type { AuthorityGeneration, AuthorityRecord, CertificateRecord, EarlierGeneration } from '../state/records.ts';

/** `trusted`: signs no leaves any more, but nodes trust it. */
export type GenerationState = 'next' | 'current' | 'trusted' | 'retired';

export interface GenerationView {
  state: GenerationState;
  generation: AuthorityGeneration;
  compromised: boolean;
  keyDestroyed: boolean;
}

/** All of them: next, current, then the earlier ones, the newest first. */
export function generationsOf(record: AuthorityRecord): GenerationView[] {
  const plain = { compromised: false, keyDestroyed: false };
  return [
    ...(record.next ? [{ state: 'next' as const, generation: record.next, ...plain }] : []),
    { state: 'current', generation: currentGeneration(record), ...plain },
    ...(record.earlier ?? []).map((earlier) => ({
      state: earlier.retiredAtMs === undefined ? ('trusted' as const) : ('retired' as const),
      generation: earlier,
      compromised: earlier.compromised ?? false,
      keyDestroyed: earlier.keyDestroyedAtMs !== undefined,
    })),
  ];
}

/** The one that signs. */
export function currentGeneration(record: AuthorityRecord): AuthorityGeneration {
  const { keyId, keyAlgorithm, serial, certificate, notBeforeMs, notAfterMs, chain, root, cross, first } = record;
  return {
    keyId,
    keyAlgorithm,
    serial,
    certificate,
    notBeforeMs,
    notAfterMs,
    ...(chain && { chain }),
    ...(root !== undefined && { root }),
    ...(cross !== undefined && { cross }),
    ...(first && { first }),
  };
}

/** The first of all: certificates whose records name no issuer are its own. */
export function firstGeneration(record: AuthorityRecord): AuthorityGeneration {
  return record.earlier?.find(({ first }) => first) ?? currentGeneration(record);
}

/** The generation whose key signed a certificate. Undefined: it is not known any more, or never was. */
export function issuingGeneration(
  record: AuthorityRecord,
  { issuerSerial }: Pick<CertificateRecord, 'issuerSerial'>,
): AuthorityGeneration | undefined {
  if (issuerSerial === undefined) return firstGeneration(record);
  return generationsOf(record).find(({ generation }) => generation.serial === issuerSerial)?.generation;
}

/**
 * Generations that answer for certificates of theirs that have not ended: the current one first, then the earlier ones, the newest first. A generation whose key is gone, or that is
 * over itself, can sign nothing; the current one is always among them.
 */
export function liveGenerations(record: AuthorityRecord, nowMs: number): AuthorityGeneration[] {
  const live = (record.earlier ?? []).filter((earlier) => answersStill(earlier, nowMs));
  return [currentGeneration(record), ...live];
}

function answersStill({ keyId, keyDestroyedAtMs, lastLeafNotAfterMs, notAfterMs }: EarlierGeneration, nowMs: number): boolean {
  return keyId !== '' && keyDestroyedAtMs === undefined && lastLeafNotAfterMs > nowMs && notAfterMs > nowMs;
}

/** What is delivered behind every leaf of a generation, DER: its own certificate and those above, without the root. Empty: it is a root itself. */
export function intermediatesOf({ certificate, chain = [], root }: Pick<AuthorityGeneration, 'certificate' | 'chain' | 'root'>): Buffer[] {
  return root === undefined ? [] : [certificate, ...chain].map(fromBase64);
}

/** What is delivered for a certificate, DER: itself, then the intermediates of the generation that issued it. */
export function chainOf(authority: AuthorityRecord | undefined, record: Pick<CertificateRecord, 'certificate' | 'issuerSerial'>): Buffer[] {
  const generation = authority && issuingGeneration(authority, record);
  return [fromBase64(record.certificate), ...(generation ? intermediatesOf(generation) : [])];
}

/** What a leaf of the current generation says of where its CRL, its OCSP responder and its CA's certificate are. The responder is one for all keys: a question names the key. */
export function urlsOf(authority: AuthorityRecord, { crlUrls, ocspUrls, caIssuerUrls }: RevocationUrls): RevocationUrls {
  const { serial } = authority;
  const own = (urls: string[]): string[] =>
    serial === firstGeneration(authority).serial ? urls : urls.map((url) => generationUrl(url, serial));
  return {
    ...(crlUrls && { crlUrls: own(crlUrls) }),
    ...(ocspUrls && { ocspUrls }),
    ...(caIssuerUrls && { caIssuerUrls: own(caIssuerUrls) }),
  };
}

/** Certificates above a generation's own, DER, nearest first, the root last. Empty: it is a root itself. */
export function certificatesAbove({ chain = [], root }: Pick<AuthorityGeneration, 'chain' | 'root'>): Buffer[] {
  return [...chain, ...(root === undefined ? [] : [root])].map(fromBase64);
}

/** Of a generation, what nodes trust: its root. DER, base64. */
export function anchorOf({ certificate, root }: Pick<AuthorityGeneration, 'certificate' | 'root'>): string {
  return root ?? certificate;
}

/** Two generations that stand under one root are trusted and distrusted together: only the root's CRL tells them apart. */
export function shareRoot(one: AuthorityGeneration, other: AuthorityGeneration): boolean {
  return anchorOf(one) === anchorOf(other);
}

/** Takes the next generation up. Nodes do not trust it yet: `spread` is the next step. */
export function withNext(record: AuthorityRecord, next: AuthorityGeneration): AuthorityRecord {
  if (record.next) throw refused(record, 'it has a next generation already; end that rotation first');
  const known = generationsOf(record).some(({ generation }) => generation.serial === next.serial || generation.keyId === next.keyId);
  if (known) throw refused(record, `its next generation has the serial or the key of another one (${next.serial})`);
  return { ...record, next };
}

/** Has nodes trust the next generation too. The bundle's version grows when the bundle does: of the same root as before there is nothing to spread. */
export function spread(record: AuthorityRecord): AuthorityRecord {
  return withBundle(record, [...record.bundle, anchorOf(nextOf(record))]);
}

/**
 * The next generation signs from here on, the present one goes to the earlier ones.
 *
 * @param lastLeafNotAfterMs when the last leaf of the present generation ends.
 */
export function activated(
  record: AuthorityRecord,
  { nowMs, lastLeafNotAfterMs }: { nowMs: number; lastLeafNotAfterMs: number },
): AuthorityRecord {
  const next = nextOf(record);
  if (!record.bundle.includes(anchorOf(next))) throw refused(record, 'nodes do not trust its next generation yet');
  const first = record.earlier === undefined ? { first: true } : {};
  const replaced: EarlierGeneration = { ...currentGeneration(record), ...first, replacedAtMs: nowMs, lastLeafNotAfterMs };
  return { ...withoutGeneration(record), ...next, earlier: [replaced, ...(record.earlier ?? [])] };
}

/** Back to the generation before, which nodes still trust; the present one goes to the earlier ones. Its arguments are those of `activated`. */
export function reverted(
  record: AuthorityRecord,
  { nowMs, lastLeafNotAfterMs }: { nowMs: number; lastLeafNotAfterMs: number },
): AuthorityRecord {
  if (record.next) throw refused(record, 'it has a next generation that is not active');
  const [before, ...rest] = record.earlier ?? [];
  if (!before) throw refused(record, 'there is no generation before it');
  const { replacedAtMs, lastLeafNotAfterMs: _last, retiredAtMs, compromised, keyDestroyedAtMs, ...generation } = before;
  if (keyDestroyedAtMs !== undefined) throw refused(record, 'the key of the generation before it is destroyed');
  if (retiredAtMs !== undefined) throw refused(record, 'nodes do not trust the generation before it any more');
  if (compromised) throw refused(record, 'the generation before it is compromised');
  const left: EarlierGeneration = { ...currentGeneration(record), replacedAtMs: nowMs, lastLeafNotAfterMs };
  return { ...withoutGeneration(record), ...generation, earlier: [left, ...rest] };
}

/** Drops the next generation, which has signed nothing, and the nodes' trust in it. Its key is the caller's to destroy. */
export function abandoned(record: AuthorityRecord): AuthorityRecord {
  const next = nextOf(record);
  const { next: _dropped, ...rest } = record;
  return withBundle(rest, without(record, [next]));
}

/** Nodes trust the current generation alone from here on; all before it are retired. */
export function retired(record: AuthorityRecord, nowMs: number): AuthorityRecord {
  if (record.next) throw refused(record, 'it has a next generation that is not active');
  const { earlier } = record;
  if (!earlier) return record;
  return {
    ...withBundle(record, without(record, earlier)),
    earlier: earlier.map((generation) => ({ ...generation, retiredAtMs: generation.retiredAtMs ?? nowMs })),
  };
}

/** Notes that an earlier generation's key may be in strange hands. */
export function withCompromised(record: AuthorityRecord, serial: string): AuthorityRecord {
  return changed(record, serial, (earlier) => ({ ...earlier, compromised: true }));
}

/** Corrects when the last leaf of an earlier generation ends. */
export function withLastLeaf(record: AuthorityRecord, serial: string, lastLeafNotAfterMs: number): AuthorityRecord {
  return changed(record, serial, (earlier) => ({ ...earlier, lastLeafNotAfterMs }));
}

/** Earlier generations whose keys nobody needs any more: nodes do not trust them, and their last leaves have ended. */
export function spentGenerations(record: AuthorityRecord, nowMs: number): EarlierGeneration[] {
  return (record.earlier ?? []).filter(
    ({ keyId, retiredAtMs, keyDestroyedAtMs, lastLeafNotAfterMs }) =>
      keyId !== '' && retiredAtMs !== undefined && keyDestroyedAtMs === undefined && lastLeafNotAfterMs <= nowMs,
  );
}

/** Notes that an earlier generation's key is to be destroyed: from here on nothing asks for it. Write this first, then destroy the key. */
export function withKeyDestroyed(record: AuthorityRecord, serial: string, nowMs: number): AuthorityRecord {
  return changed(record, serial, (earlier) => {
    if (earlier.retiredAtMs === undefined) throw refused(record, `its generation ${serial} is trusted still: its key is kept`);
    return { ...earlier, keyDestroyedAtMs: earlier.keyDestroyedAtMs ?? nowMs };
  });
}

function changed(record: AuthorityRecord, serial: string, change: (earlier: EarlierGeneration) => EarlierGeneration): AuthorityRecord {
  const earlier = record.earlier ?? [];
  if (!earlier.some((generation) => generation.serial === serial)) throw refused(record, `it has no earlier generation ${serial}`);
  return { ...record, earlier: earlier.map((generation) => (generation.serial === serial ? change(generation) : generation)) };
}

/** The bundle without what stands for these generations alone. What others put into it, as an import does, stays. */
function without(record: AuthorityRecord, dropped: readonly AuthorityGeneration[]): string[] {
  const keeps = generationsOf(record).filter(
    ({ generation, state }) => state !== 'retired' && !dropped.some(({ serial }) => serial === generation.serial),
  );
  const kept = new Set(keeps.flatMap(({ generation }) => everyCertificate(generation)));
  const gone = new Set(dropped.flatMap(everyCertificate).filter((der) => !kept.has(der)));
  return [...record.bundle.filter((der) => !gone.has(der)), anchorOf(record)];
}

function everyCertificate({ certificate, chain = [], root }: AuthorityGeneration): string[] {
  return [certificate, ...chain, ...(root === undefined ? [] : [root])];
}

function withBundle(record: AuthorityRecord, certificates: readonly string[]): AuthorityRecord {
  const bundle = [...new Set(certificates)];
  const same = bundle.length === record.bundle.length && bundle.every((der, at) => der === record.bundle[at]);
  return same ? record : { ...record, bundle, bundleVersion: record.bundleVersion + 1 };
}

/** What belongs to the CA, whichever generation signs. */
function withoutGeneration(record: AuthorityRecord): Pick<AuthorityRecord, 'cluster' | 'name' | 'bundle' | 'bundleVersion'> {
  const { cluster, name, bundle, bundleVersion } = record;
  return { cluster, name, bundle, bundleVersion };
}

function nextOf(record: AuthorityRecord): AuthorityGeneration {
  if (!record.next) throw refused(record, 'it has no next generation');
  return record.next;
}

function refused({ cluster, name }: AuthorityRecord, why: string): EvercertError {
  return new EvercertError('FailedPrecondition', `${name} of ${cluster} cannot change its generation: ${why}`);
}

function fromBase64(der: string): Buffer {
  return Buffer.from(der, 'base64');
}
