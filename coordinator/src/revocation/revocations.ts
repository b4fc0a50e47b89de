import type { Clock, Timer } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import type { RevocationReason } from '@evercert/shared/revocation';
import { normalizeSerial } from '@evercert/shared/x509';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { type CertificateRecord, decodeRecord, type RevocationEpochRecord, type RevocationRecord } from '../state/records.ts';
import type { Compare, Store } from '../store/index.ts';
import { refusalError } from './refusal.ts';
import { compareRules, type Rule, RuleIndex } from './rule-index.ts';
import { subjectOfCertificate, subjectOfProfile } from './subject.ts';
import type { MatchedCertificate, MatchedProfile, Refusal, RefusedQuestion, RevocationMatch, RevocationQuestion } from './types.ts';

/** Certificates read from the store at once. */
const pageSize = 500;

export interface RevokedCertificate {
  serial: string;
  /** Of the CA's certificate, by whose key it is signed; undefined: of the CA's first generation. */
  issuerSerial: string | undefined;
  revokedAtMs: number;
  reason: RevocationReason;
  notAfterMs: number;
}

/** Knows every cluster's RenewRevocation objects, and answers whether they match a certificate, at the same cost however many entries there are. */
export class Revocations {
  /** The objects themselves. */
  readonly objects: Informer<RevocationRecord>;
  readonly epochs: Informer<RevocationEpochRecord>;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #indexes = new Map<string, RuleIndex>();
  readonly #listeners = new Set<(cluster: string) => void>();
  readonly #boundaries = new Map<string, Timer>();
  /** By the object's key. */
  readonly #refusals = new Map<string, number>();
  readonly #refusalListeners = new Set<(refused: RefusedQuestion) => void>();

  constructor({ store, logger, clock }: { store: Store; logger: Logger; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
    this.objects = new Informer(store, layout.revocations, logger);
    this.epochs = new Informer(store, layout.revocationEpochs, logger);
    this.objects.subscribe((change) => {
      const before = change.previous;
      this.#reindex(
        (before ?? (change as { record: RevocationRecord }).record).cluster,
        before,
        change.type === 'put' ? change.record : undefined,
      );
    });
  }

  async start(): Promise<void> {
    await Promise.all([this.objects.start(), this.epochs.start()]);
  }

  async stop(): Promise<void> {
    for (const timer of this.#boundaries.values()) timer.cancel();
    this.#boundaries.clear();
    await Promise.all([this.objects.stop(), this.epochs.stop()]);
  }

  /** Renewals and issues refused since the start. */
  get refusalsTotal(): number {
    return [...this.#refusals.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Those that one object has refused since the start. */
  refusalsOf(cluster: string, name: string): number {
    return this.#refusals.get(layout.revocation(cluster, name)) ?? 0;
  }

  /** Entries of a cluster's objects. 0: nothing there is revoked. */
  entries(cluster: string): number {
    return this.#indexes.get(cluster)?.size ?? 0;
  }

  get(cluster: string, name: string): RevocationRecord | undefined {
    return this.objects.get(layout.revocation(cluster, name))?.record;
  }

  /** Empty cluster: those of all. */
  list(cluster: string): RevocationRecord[] {
    return this.objects.list(cluster === '' ? layout.revocations : layout.revocationsOf(cluster));
  }

  /** Goes into the transaction of an issue: it fails with Conflict if the cluster's revocations have changed since they were asked. */
  unchanged(cluster: string): Compare {
    const key = layout.revocationEpoch(cluster);
    return { key, modRevision: this.epochs.get(key)?.modRevision ?? 0 };
  }

  /** Entries that match an issued certificate, by its recorded issue time; the farthest reaching first. */
  matchIssued(record: MatchedCertificate): RevocationMatch[] {
    const index = this.#indexes.get(record.cluster);
    return index ? index.all(subjectOfCertificate(record), record.issuedAtMs) : [];
  }

  /** Entries that match what would be issued at that time. */
  matchProfile(cluster: string, profile: MatchedProfile, issuedAtMs: number): RevocationMatch[] {
    return this.#indexes.get(cluster)?.all(subjectOfProfile(profile), issuedAtMs) ?? [];
  }

  /** The farthest reaching entry that names a serial number, or one of whose successors it is; for identities, of which nothing else can be matched. */
  matchSerial(cluster: string, serial: string, issuedAtMs: number): RevocationMatch | undefined {
    const index = this.#indexes.get(cluster);
    return index?.strongest({ serial: normalizeSerial(serial), groups: [], names: [], addresses: [] }, issuedAtMs);
  }

  /** Why a renewal or an issue is refused; undefined: it is not. Counts nothing. */
  find(question: RevocationQuestion): Refusal | undefined {
    const { cluster, current, profile, nowMs, ignoreCurrent } = question;
    const index = this.#indexes.get(cluster);
    if (!index) return undefined;
    const future = index.strongest(subjectOfProfile(profile), nowMs);
    const present = current && !ignoreCurrent ? index.strongest(subjectOfCertificate(current), current.issuedAtMs) : undefined;
    const match = strongerOf(future, present);
    return match && { match, future: future !== undefined };
  }

  /** Throws `Revoked` if the certificate in use, or what would be issued, is matched; it names object and entry and says what to do. */
  check(question: RevocationQuestion): void {
    const refusal = this.find(question);
    if (!refusal) return;
    const key = layout.revocation(question.cluster, refusal.match.object);
    this.#refusals.set(key, (this.#refusals.get(key) ?? 0) + 1);
    for (const listener of this.#refusalListeners) listener({ ...refusal, cluster: question.cluster, applicant: question.applicant });
    throw refusalError(question.cluster, refusal, question.nowMs);
  }

  /** Certificates of one CA of a cluster, not expired, that are matched: for CRL and OCSP. */
  async revokedOf(cluster: string, issuerName: string): Promise<RevokedCertificate[]> {
    const found: RevokedCertificate[] = [];
    for await (const record of this.live(cluster)) {
      if (record.issuer !== issuerName) continue;
      const revoked = revocationOf(record, this.matchIssued(record));
      if (revoked) found.push({ serial: record.serial, issuerSerial: record.issuerSerial, notAfterMs: record.notAfterMs, ...revoked });
    }
    return found;
  }

  /** `unknown`: no record of it, and no entry names it. */
  async statusOf(cluster: string, serial: string): Promise<'good' | 'unknown' | { revokedAtMs: number; reason: RevocationReason }> {
    const key = layout.certificate(cluster, normalizeSerial(serial));
    const entry = await this.#store.get(key);
    if (entry) {
      const record = decodeRecord<CertificateRecord>(key, entry.value);
      return revocationOf(record, this.matchIssued(record)) ?? 'good';
    }
    const named = this.matchSerial(cluster, serial, 0);
    return named ? { revokedAtMs: named.addedAtMs, reason: named.reason } : 'unknown';
  }

  /** The cluster's certificates that have not expired; nothing is read while it has no entries, unless asked for `always`. */
  async *live(cluster: string, { always = false } = {}): AsyncIterable<CertificateRecord> {
    if (!always && this.entries(cluster) === 0) return;
    const nowMs = this.#clock.nowMs();
    for (let after = ''; ; ) {
      const { entries, more } = await this.#store.range({
        prefix: layout.certificatesOf(cluster),
        limit: pageSize,
        ...(after && { after }),
      });
      for (const { key, value } of entries) {
        const record = decodeRecord<CertificateRecord>(key, value);
        if (record.notAfterMs > nowMs) yield record;
      }
      if (!more) return;
      after = entries.at(-1)?.key ?? '';
    }
  }

  /** Calls back after a change of a cluster's objects, and when a notBefore that lay in the future has come. Returns a function that ends it. */
  subscribe(listener: (cluster: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls back at each refusal that `check` makes; must not throw. Returns a function that ends it. */
  onRefusal(listener: (refused: RefusedQuestion) => void): () => void {
    this.#refusalListeners.add(listener);
    return () => this.#refusalListeners.delete(listener);
  }

  #reindex(cluster: string, before: RevocationRecord | undefined, after: RevocationRecord | undefined): void {
    const index = this.#indexes.get(cluster) ?? new RuleIndex();
    if (before) index.remove(before);
    if (after) index.add(after);
    if (index.size > 0) this.#indexes.set(cluster, index);
    else this.#indexes.delete(cluster);
    this.#notify(cluster);
  }

  #notify(cluster: string): void {
    this.#awaitNextBoundary(cluster);
    for (const listener of this.#listeners) listener(cluster);
  }

  /** When a future notBefore comes, what it refused may be issued. */
  #awaitNextBoundary(cluster: string): void {
    this.#boundaries.get(cluster)?.cancel();
    this.#boundaries.delete(cluster);
    const nowMs = this.#clock.nowMs();
    let next = Number.POSITIVE_INFINITY;
    for (const { entries } of this.list(cluster)) {
      for (const { notBeforeMs } of entries) if (notBeforeMs !== undefined && notBeforeMs > nowMs && notBeforeMs < next) next = notBeforeMs;
    }
    if (Number.isFinite(next))
      this.#boundaries.set(
        cluster,
        this.#clock.at(next, () => this.#notify(cluster)),
      );
  }
}

function strongerOf(a: RevocationMatch | undefined, b: RevocationMatch | undefined): RevocationMatch | undefined {
  if (!a || !b) return a ?? b;
  return compareRules(a as Rule, b as Rule) <= 0 ? a : b;
}

/** Since when a certificate is revoked, and why: by the entry that came first. What was issued later than that is revoked from its issue on. */
function revocationOf(
  record: CertificateRecord,
  matches: RevocationMatch[],
): { revokedAtMs: number; reason: RevocationReason } | undefined {
  const [first, ...rest] = matches;
  if (!first) return undefined;
  const earliest = rest.reduce((a, b) => (b.addedAtMs < a.addedAtMs ? b : a), first);
  return { revokedAtMs: Math.max(earliest.addedAtMs, record.issuedAtMs), reason: earliest.reason };
}
