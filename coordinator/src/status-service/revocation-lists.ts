import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type CrlEntry, createCrl, parseCrl } from '@evercert/shared/x509';
import type { Authorities } from '../ca/authorities.ts';
import { firstGeneration, liveGenerations } from '../ca/generations.ts';
import type { EventRecorder } from '../events/recorder.ts';
import type { RunningController } from '../leadership/index.ts';
import { type Change, Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { type AuthorityRecord, type CertificateRecord, decodeRecord, type RevocationListRecord } from '../state/records.ts';
import type { Compare, Store } from '../store/index.ts';
import { crlEntry, goneEntries, sameEntries } from './crl-contents.ts';
import { CrlStore, type StoredCrl } from './crl-store.ts';
import { fileListName, type ListSlot, listName, listSlots, nextEndMs } from './list-slots.ts';
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

/** What goes into a file on a node: the list, and behind it those of earlier generations. */
export interface FileCrls extends CurrentCrl {
  earlier: Buffer[];
}

interface Held {
  stored: StoredCrl;
  entries: CrlEntry[];
  renewAtMs: number;
}

/** A CA, as it was when a list of it was decided on. */
interface Decided {
  authority: AuthorityRecord;
  modRevision: number;
}

const retryMs = 5000;
const maxAttempts = 3;

/**
 * Keeps the complete CRLs of every cluster's CAs, one of each generation that has certificates in use: made anew at once when what is revoked changes, and at half of their lives. A
 * list is seen by nobody before it is durable with its number; numbers grow with the wall clock, so that a store restored from a backup does not use them again, and a CA's next
 * generation goes on from where the one before was. Of several coordinators the leader makes them, and the others read what it has made.
 */
export class RevocationLists {
  readonly #options: RevocationListsOptions;
  readonly #heads: Informer<RevocationListRecord>;
  /** Undefined: another makes the lists. */
  #making: CrlStore | undefined;
  /** By the CA's key, then by the list's name. */
  readonly #held = new Map<string, Map<string, Held>>();
  readonly #pending = new Set<string>();
  /** Tried without success; a timer of their own brings them back. */
  readonly #failed = new Set<string>();
  /** The store has newer lists than are held here. */
  readonly #unread = new Set<string>();
  readonly #listeners = new Set<(cluster: string, issuer: string) => void>();
  #running: Promise<void> | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: RevocationListsOptions) {
    this.#options = options;
    this.#heads = new Informer(options.store, layout.revocationLists, options.logger);
    this.#heads.subscribe((change) => this.#seen(change));
    options.revocations.subscribe((cluster) => this.#ask(options.model.authorities.list(layout.authority(cluster, ''))));
    options.model.authorities.subscribe((change) => {
      if (change.type === 'put') this.#ask([change.record]);
      else this.#forget(change.previous);
    });
  }

  /** Resolves when every CA has its lists in memory, or it was tried. Lists that are still good are taken from the store. */
  async start(): Promise<void> {
    const { store, model } = this.#options;
    // Nobody else can.
    if (!store.shared) this.#making = new CrlStore(store);
    else await this.#heads.start();
    this.#ask(model.authorities.list());
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
    await this.#heads.stop();
  }

  /** What makes the lists, through a leader's store. */
  maker(fenced: Store): RunningController {
    if (!this.#options.store.shared) return { start() {}, async stop() {} };
    return {
      start: () => {
        this.#making = new CrlStore(fenced);
        for (const { cluster, name } of this.#options.model.authorities.list()) this.#unread.add(layout.authority(cluster, name));
        this.#ask(this.#options.model.authorities.list());
      },
      stop: async () => {
        this.#making = undefined;
        this.#timer?.cancel();
        await this.#running;
      },
    };
  }

  /**
   * The list of one generation. Undefined: there is no such CA or generation, its last certificate has ended, or its first list could not be made yet.
   *
   * @param serial of the generation; absent: the CA's first one, which certificates that name no generation are of, and the current one when that is over.
   */
  get(cluster: string, issuer: string, serial?: string): CurrentCrl | undefined {
    const authority = this.#authority(cluster, issuer);
    if (!authority) return undefined;
    const live = new Set(liveGenerations(authority, this.#options.clock.nowMs()).map((generation) => generation.serial));
    const first = firstGeneration(authority).serial;
    const wanted = serial ?? (live.has(first) ? first : authority.serial);
    return live.has(wanted) ? this.#current(authority, listName(authority, wanted)) : undefined;
  }

  /** What nodes hold in files. Undefined: as of `get`. */
  forFiles(cluster: string, issuer: string): FileCrls | undefined {
    const authority = this.#authority(cluster, issuer);
    if (!authority) return undefined;
    const nowMs = this.#options.clock.nowMs();
    const own = listName(authority, authority.serial);
    // The one that is for files may not be made yet.
    const first = this.#current(authority, fileListName(authority, nowMs)) ?? this.#current(authority, own);
    if (!first) return undefined;
    const earlier = listSlots(authority, nowMs).filter(({ generation }) => generation.serial !== authority.serial);
    return { ...first, earlier: earlier.flatMap(({ name }) => this.#current(authority, name)?.der ?? []) };
  }

  /** Calls back after a CA has got another list. */
  subscribe(listener: (cluster: string, issuer: string) => void): void {
    this.#listeners.add(listener);
  }

  #authority(cluster: string, issuer: string): AuthorityRecord | undefined {
    return this.#options.model.authorities.get(layout.authority(cluster, issuer))?.record;
  }

  #current({ cluster, name: issuer }: AuthorityRecord, name: string): CurrentCrl | undefined {
    const held = this.#held.get(layout.authority(cluster, issuer))?.get(name);
    if (!held) return undefined;
    const { stored, renewAtMs } = held;
    const { number, sha256, issuedAtMs, nextUpdateMs } = stored.record;
    return { number, der: stored.der, sha256, issuedAtMs, nextUpdateMs, renewAtMs };
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

  /** The leader has made another. */
  #seen(change: Change<RevocationListRecord>): void {
    if (this.#making || change.type === 'delete') return;
    const { cluster, issuer } = change.record;
    this.#unread.add(layout.authority(cluster, issuer));
    this.#ask([{ cluster, name: issuer }]);
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
      if (authority) await this.#attempt(key, { authority: authority.record, modRevision: authority.modRevision });
    }
    this.#arm();
  }

  async #attempt(key: string, decided: Decided): Promise<void> {
    const { clock, logger } = this.#options;
    const { cluster, name: issuer } = decided.authority;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#refresh(key, decided);
      } catch (error) {
        if (error instanceof EvercertError && error.code === 'NotLeader') {
          this.#unread.add(key);
          return;
        }
        if (error instanceof EvercertError && error.code === 'Conflict' && attempt < maxAttempts) {
          // Another coordinator made a list in between: go on from that one.
          this.#unread.add(key);
          continue;
        }
        logger.error('cannot make a CRL; trying again', { cluster, issuer, error: describeError(error) });
        this.#failed.add(key);
        clock.after(retryMs, () => this.#ask([decided.authority]));
        return;
      }
    }
  }

  /** All lists of one CA. */
  async #refresh(key: string, decided: Decided): Promise<void> {
    const { authority } = decided;
    const { clock, revocations } = this.#options;
    const nowMs = Math.floor(clock.nowMs());
    const slots = listSlots(authority, nowMs);
    const known = this.#unread.has(key) ? undefined : this.#held.get(key);
    const lists = new Map<string, Held | undefined>();
    this.#unread.delete(key);
    for (const slot of slots) lists.set(slot.name, known?.get(slot.name) ?? (await this.#load(key, slot)));
    this.#forgetOthers(key, authority, slots);
    // Without its key nothing can be signed: whoever holds it makes the list.
    if (authority.keyId === '' || !this.#making) return;
    const first = firstGeneration(authority).serial;
    const revoked = await revocations.revokedOf(authority.cluster, authority.name);
    for (const slot of slots) {
      const listed = revoked.filter(({ issuerSerial = first }) => slot.covers.has(issuerSerial));
      await this.#refreshOne(key, decided, slot, lists.get(slot.name), listed.map(crlEntry));
    }
    if (authority.earlier === undefined) return;
    const names = new Set(slots.map(({ name }) => name));
    await this.#maker().keepOnly(authority.cluster, authority.name, names, [unchanged(decided)]);
  }

  async #refreshOne(key: string, decided: Decided, slot: ListSlot, held: Held | undefined, matched: readonly CrlEntry[]): Promise<void> {
    const { clock, events, logger } = this.#options;
    const { cluster, issuer, generation, name } = slot;
    const nowMs = Math.floor(clock.nowMs());
    if (generation.notAfterMs <= nowMs) {
      if (held) held.renewAtMs = Number.POSITIVE_INFINITY;
      return;
    }
    const entries = [...matched, ...(held ? await this.#justExpired(cluster, held, matched) : [])];
    const same = held?.stored.record.authoritySerial === generation.serial && sameEntries(held.entries, entries);
    if (same && held && nowMs < held.renewAtMs) return;
    // All lists of a CA count together: those for files are now of one key, now of all.
    const numbers = [...(this.#held.get(key)?.values() ?? []), ...(held ? [held] : [])].map(({ stored: { record } }) => record.number);
    const number = Math.max(nowMs, ...numbers.map((each) => each + 1));
    const stored = await this.#make(decided, slot, entries, { before: held?.stored, number, nowMs });
    this.#hold(key, slot, { stored, entries, renewAtMs: this.#renewAtMs(stored) });
    logger.info('made a CRL', { cluster, issuer, list: name, number: stored.record.number, entries: entries.length });
    // The one for files tells nothing new.
    if (slot.covers.size > 1 || sameEntries(held?.entries ?? [], entries)) return;
    const whose = name === issuer ? issuer : `${issuer} (generation ${generation.serial})`;
    events.record({
      cluster,
      actor: 'coordinator',
      reason: 'RevocationListChanged',
      message: `CRL ${stored.record.number} of ${whose} lists ${entries.length} certificates (before: ${held?.entries.length ?? 0})`,
    });
  }

  async #make(
    decided: Decided,
    slot: ListSlot,
    entries: CrlEntry[],
    { before, number, nowMs }: { before: StoredCrl | undefined; number: number; nowMs: number },
  ): Promise<StoredCrl> {
    const { authorities, backdateMs, lifetimeMs } = this.#options;
    const { cluster, issuer, generation, name } = slot;
    const nextUpdateMs = nowMs + lifetimeMs;
    const der = await createCrl({
      issuer: await authorities.issuer({ cluster, name: issuer, ...generation }),
      number,
      thisUpdate: new Date(nowMs - backdateMs),
      nextUpdate: new Date(nextUpdateMs),
      revoked: entries,
    });
    const record = { cluster, issuer, number, authoritySerial: generation.serial, issuedAtMs: nowMs, nextUpdateMs };
    return await this.#maker().save(name, record, der, before, [unchanged(decided)]);
  }

  /** Lists of generations whose last certificates have ended. */
  #forgetOthers(key: string, { cluster, name }: AuthorityRecord, slots: readonly ListSlot[]): void {
    const gone = this.#spare(key, slots);
    for (const list of gone) this.#held.get(key)?.delete(list);
    if (gone.length > 0) this.#tell(cluster, name);
  }

  #spare(key: string, slots: readonly ListSlot[]): string[] {
    return [...(this.#held.get(key)?.keys() ?? [])].filter((name) => !slots.some((slot) => slot.name === name));
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

  async #load(key: string, slot: ListSlot): Promise<Held | undefined> {
    const { cluster, issuer, name } = slot;
    const making = this.#making;
    const stored = await (making ?? new CrlStore(this.#options.store)).load(cluster, name, { tidy: making !== undefined });
    if (!stored) return undefined;
    // Another takes its place just now, and will be told of.
    if (stored.der.length === 0 && !making) return this.#held.get(key)?.get(name);
    if (stored.der.length === 0) {
      this.#options.logger.warn('a CRL in the store is damaged; making a new one', { cluster, issuer, list: name });
      return { stored, entries: [], renewAtMs: 0 };
    }
    const held = { stored, entries: parseCrl(stored.der).revoked, renewAtMs: this.#renewAtMs(stored) };
    this.#hold(key, slot, held);
    return held;
  }

  #maker(): CrlStore {
    if (this.#making) return this.#making;
    throw new EvercertError('NotLeader', 'another coordinator makes the CRLs now');
  }

  #hold(key: string, { cluster, issuer, name }: ListSlot, held: Held): void {
    const lists = this.#held.get(key) ?? new Map<string, Held>();
    this.#held.set(key, lists.set(name, held));
    this.#tell(cluster, issuer);
  }

  #tell(cluster: string, issuer: string): void {
    for (const listener of this.#listeners) listener(cluster, issuer);
  }

  /** Half of its life, also when the setting was shortened since. */
  #renewAtMs({ record }: StoredCrl): number {
    const lifetimeMs = Math.min(this.#options.lifetimeMs, record.nextUpdateMs - record.issuedAtMs);
    return record.issuedAtMs + lifetimeMs / 2;
  }

  /** When a CA is to be looked at again: one of its lists is to be renewed, or the last certificate of a generation has ended. */
  #dueMs(key: string): number {
    const { model, clock } = this.#options;
    const authority = model.authorities.get(key)?.record;
    const nowMs = clock.nowMs();
    // One has ended while the others were being made.
    if (authority && this.#spare(key, listSlots(authority, nowMs)).length > 0) return nowMs;
    const renewals = [...(this.#held.get(key)?.values() ?? [])].map(({ renewAtMs }) => renewAtMs);
    return Math.min(...renewals, authority ? nextEndMs(authority, nowMs) : Number.POSITIVE_INFINITY);
  }

  #arm(): void {
    this.#timer?.cancel();
    const waiting = [...this.#held.keys()].filter((key) => !this.#failed.has(key)).map((key) => ({ key, atMs: this.#dueMs(key) }));
    const atMs = waiting.reduce((earliest, due) => Math.min(earliest, due.atMs), Number.POSITIVE_INFINITY);
    if (this.#stopped || !this.#making || atMs === Number.POSITIVE_INFINITY) return;
    const { clock, model } = this.#options;
    this.#timer = clock.at(atMs, () => {
      const due = waiting.filter((each) => each.atMs <= clock.nowMs());
      this.#ask(due.flatMap(({ key }) => model.authorities.get(key)?.record ?? []));
    });
  }
}

/** The CA as it was when this was decided: a cluster that is deleted meanwhile leaves nothing behind. */
function unchanged({ authority, modRevision }: Decided): Compare {
  return { key: layout.authority(authority.cluster, authority.name), modRevision };
}
