import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type CrlEntry, createCrl, parseCrl } from '@evercert/shared/x509';
import type { Authorities } from '../ca/authorities.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { layout } from '../state/layout.ts';
import { type AuthorityRecord, type CertificateRecord, decodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import { crlEntry, goneEntries, sameEntries } from './crl-contents.ts';
import { CrlStore, type StoredCrl } from './crl-store.ts';
import type { AuthoritySource, RevocationSource } from './source.ts';

export interface RevocationListsOptions {
  store: Store;
  model: AuthoritySource;
  authorities: Pick<Authorities, 'issuer'>;
  revocations: RevocationSource;
  events: Pick<EventRecorder, 'record'>;
  clock: Clock;
  logger: Logger;
  backdateMs: number;
  /** From one list's making to its nextUpdate. */
  lifetimeMs: number;
}

/** A CRL that is served. */
export interface CurrentCrl {
  number: number;
  der: Buffer;
  /** SHA-256 in hexadecimal. */
  sha256: string;
  issuedAtMs: number;
  nextUpdateMs: number;
  /** When the next one is made if nothing changes before. */
  renewAtMs: number;
}

interface Held {
  stored: StoredCrl;
  entries: CrlEntry[];
  renewAtMs: number;
}

const retryMs = 5000;
const maxAttempts = 3;

/**
 * Keeps one complete CRL per CA of every cluster: made anew at once when what is revoked changes, and at half of its life. A list is seen by nobody before it is durable with its
 * number; numbers grow with the wall clock, so that a store restored from a backup does not use them again.
 */
export class RevocationLists {
  readonly #options: RevocationListsOptions;
  readonly #crls: CrlStore;
  readonly #held = new Map<string, Held>();
  readonly #pending = new Set<string>();
  /** Tried without success; a timer of their own brings them back. */
  readonly #failed = new Set<string>();
  /** The store has a newer list than is held here. */
  readonly #unread = new Set<string>();
  readonly #listeners = new Set<(cluster: string, issuer: string) => void>();
  #running: Promise<void> | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: RevocationListsOptions) {
    this.#options = options;
    this.#crls = new CrlStore(options.store);
    options.revocations.subscribe((cluster) => this.#ask(options.model.authorities.list(layout.authority(cluster, ''))));
    options.model.authorities.subscribe((change) => {
      if (change.type === 'put') this.#ask([change.record]);
      else this.#forget(change.previous);
    });
  }

  /** Resolves when every CA has its list in memory, or it was tried. Lists that are still good are taken from the store. */
  async start(): Promise<void> {
    this.#ask(this.#options.model.authorities.list());
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  /** Undefined: there is no such CA, or its first list could not be made yet. */
  get(cluster: string, issuer: string): CurrentCrl | undefined {
    const held = this.#held.get(layout.authority(cluster, issuer));
    if (!held) return undefined;
    const { stored, renewAtMs } = held;
    const { number, sha256, issuedAtMs, nextUpdateMs } = stored.record;
    return { number, der: stored.der, sha256, issuedAtMs, nextUpdateMs, renewAtMs };
  }

  /** Calls back after a CA has got another list. */
  subscribe(listener: (cluster: string, issuer: string) => void): void {
    this.#listeners.add(listener);
  }

  #ask(authorities: readonly Pick<AuthorityRecord, 'cluster' | 'name'>[]): void {
    if (this.#stopped) return;
    for (const { cluster, name } of authorities) this.#pending.add(layout.authority(cluster, name));
    if (this.#pending.size === 0) return;
    this.#running ??= this.#work().finally(() => {
      this.#running = undefined;
      this.#ask([]);
    });
  }

  #forget({ cluster, name }: AuthorityRecord): void {
    this.#held.delete(layout.authority(cluster, name));
  }

  /** One list after the other: whoever revokes for a whole cluster must not take the signers from those who renew. */
  async #work(): Promise<void> {
    // The change that led here is in memory everywhere only when its announcement is over.
    await Promise.resolve();
    for (const key of this.#pending) {
      if (this.#stopped) return;
      this.#pending.delete(key);
      this.#failed.delete(key);
      const authority = this.#options.model.authorities.get(key);
      if (authority) await this.#attempt(key, authority.record, authority.modRevision);
    }
    this.#arm();
  }

  async #attempt(key: string, authority: AuthorityRecord, modRevision: number): Promise<void> {
    const { clock, logger } = this.#options;
    const { cluster, name: issuer } = authority;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#refresh(key, authority, modRevision);
      } catch (error) {
        if (error instanceof EvercertError && error.code === 'Conflict' && attempt < maxAttempts) {
          // Another coordinator made a list in between: go on from that one.
          this.#unread.add(key);
          continue;
        }
        logger.error('cannot make a CRL; trying again', { cluster, issuer, error: describeError(error) });
        this.#failed.add(key);
        clock.after(retryMs, () => this.#ask([authority]));
        return;
      }
    }
  }

  async #refresh(key: string, authority: AuthorityRecord, modRevision: number): Promise<void> {
    const { clock, revocations, events, logger } = this.#options;
    const { cluster, name: issuer } = authority;
    const known = this.#unread.has(key) ? undefined : this.#held.get(key);
    const held = known ?? (await this.#load(key, authority));
    const nowMs = Math.floor(clock.nowMs());
    // Without its key nothing can be signed: whoever holds it makes the list.
    if (authority.keyId === '') return;
    if (authority.notAfterMs <= nowMs) {
      if (held) held.renewAtMs = Number.POSITIVE_INFINITY;
      return;
    }
    const matched = (await revocations.revokedOf(cluster, issuer)).map(crlEntry);
    const entries = [...matched, ...(held ? await this.#justExpired(cluster, held, matched) : [])];
    const { record } = held?.stored ?? {};
    const same = held !== undefined && record?.authoritySerial === authority.serial && sameEntries(held.entries, entries);
    if (same && nowMs < held.renewAtMs) return;
    const stored = await this.#make(authority, modRevision, entries, held?.stored, nowMs);
    this.#hold(key, { stored, entries, renewAtMs: this.#renewAtMs(stored) });
    logger.info('made a CRL', { cluster, issuer, number: stored.record.number, entries: entries.length });
    if (sameEntries(held?.entries ?? [], entries)) return;
    events.record({
      cluster,
      actor: 'coordinator',
      reason: 'RevocationListChanged',
      message: `CRL ${stored.record.number} of ${issuer} lists ${entries.length} certificates (before: ${held?.entries.length ?? 0})`,
    });
  }

  async #make(
    authority: AuthorityRecord,
    modRevision: number,
    entries: CrlEntry[],
    before: StoredCrl | undefined,
    nowMs: number,
  ): Promise<StoredCrl> {
    const { authorities, backdateMs, lifetimeMs } = this.#options;
    const { cluster, name: issuer } = authority;
    const number = Math.max((before?.record.number ?? 0) + 1, nowMs);
    const nextUpdateMs = nowMs + lifetimeMs;
    const der = await createCrl({
      issuer: await authorities.issuer(authority),
      number,
      thisUpdate: new Date(nowMs - backdateMs),
      nextUpdate: new Date(nextUpdateMs),
      revoked: entries,
    });
    const record = { cluster, issuer, number, authoritySerial: authority.serial, issuedAtMs: nowMs, nextUpdateMs };
    // The CA as it was when this was decided: a cluster that is deleted meanwhile leaves nothing behind.
    return await this.#crls.save(record, der, before, [{ key: layout.authority(cluster, issuer), modRevision }]);
  }

  /** A certificate that has expired stays for one list more (RFC 5280 section 3.3): whoever reads every list learns of it. */
  async #justExpired(cluster: string, held: Held, matched: readonly CrlEntry[]): Promise<CrlEntry[]> {
    const { store, clock } = this.#options;
    const kept: CrlEntry[] = [];
    for (const entry of goneEntries(held.entries, matched)) {
      const key = layout.certificate(cluster, entry.serial);
      const found = await store.get(key);
      if (!found) continue;
      const { notAfterMs } = decodeRecord<CertificateRecord>(key, found.value);
      if (notAfterMs <= clock.nowMs() && notAfterMs > held.stored.record.issuedAtMs) kept.push(entry);
    }
    return kept;
  }

  async #load(key: string, { cluster, name }: AuthorityRecord): Promise<Held | undefined> {
    const stored = await this.#crls.load(cluster, name);
    this.#unread.delete(key);
    if (!stored) return undefined;
    if (stored.der.length === 0) {
      this.#options.logger.warn('a CRL in the store is damaged; making a new one', { cluster, issuer: name });
      return { stored, entries: [], renewAtMs: 0 };
    }
    const held = { stored, entries: parseCrl(stored.der).revoked, renewAtMs: this.#renewAtMs(stored) };
    this.#hold(key, held);
    return held;
  }

  #hold(key: string, held: Held): void {
    this.#held.set(key, held);
    const { cluster, issuer } = held.stored.record;
    for (const listener of this.#listeners) listener(cluster, issuer);
  }

  /** Half of its life, also when the setting was shortened since. */
  #renewAtMs({ record }: StoredCrl): number {
    const lifetimeMs = Math.min(this.#options.lifetimeMs, record.nextUpdateMs - record.issuedAtMs);
    return record.issuedAtMs + lifetimeMs / 2;
  }

  #arm(): void {
    this.#timer?.cancel();
    const waiting = [...this.#held].filter(([key]) => !this.#failed.has(key)).map(([, held]) => held);
    const atMs = waiting.reduce((earliest, { renewAtMs }) => Math.min(earliest, renewAtMs), Number.POSITIVE_INFINITY);
    if (this.#stopped || atMs === Number.POSITIVE_INFINITY) return;
    const { clock } = this.#options;
    this.#timer = clock.at(atMs, () => {
      const due = waiting.filter(({ renewAtMs }) => renewAtMs <= clock.nowMs());
      this.#ask(due.map(({ stored: { record } }) => ({ cluster: record.cluster, name: record.issuer })));
    });
  }
}
