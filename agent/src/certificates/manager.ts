/** Keeps the declared certificates alive: decides by the planner, works through the issuer, a few at a time, the most urgent first. */
import type { Timer } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { IssueReason } from '../coordinator-api.ts';
import type { EventSink } from '../events.ts';
import type { InstalledPair } from '../files/types.ts';
import type { CounterStore } from '../state/counters.ts';
import { KeyedLock } from '../state/keyed-lock.ts';
import { Adopter } from './adopter.ts';
import { type Entry, type ErrorSource, newEntry, nextFailure, snapshotOf, viewOf } from './entry.ts';
import { Issuer, type IssuerOptions } from './issuer.ts';
import { Outcomes } from './outcomes.ts';
import { placedOtherwise } from './paths.ts';
import { nextLook, type Plan, plan, timeLeftMs, urgencyMs } from './planner.ts';
import { isStale, revocationEvent } from './revocation.ts';
import type { CertificateSnapshot, DesiredCertificate, Moment, Served } from './types.ts';

export interface ManagerOptions extends Omit<IssuerOptions, 'lock'> {
  random: () => number;
  events: EventSink;
  counters: CounterStore;
  /** Called after each installation, and at start for what was installed but not activated before a crash. */
  activate: (certificate: DesiredCertificate, pair: InstalledPair) => void;
  /** Called when a certificate is no longer declared: what `activate` began ends. */
  deactivate: (name: string) => void;
  /** Called when anything that `snapshots` shows has changed. */
  onChange: () => void;
  maxConcurrent?: number;
}

/** A call to the coordinator takes no longer than this, and never more than an eighth of the time left, but for this least. */
const longestCallMs = 30_000;
const shortestCallMs = 5000;
/** After the connection is back, tries that waited for it come within this time instead of at the end of their wait. */
const reconnectSpreadMs = 2000;
const transportErrors = new Set(['Unavailable', 'DeadlineExceeded', 'Cancelled']);

export class CertificateManager {
  readonly #options: ManagerOptions;
  readonly #issuer: Issuer;
  readonly #adopter: Adopter;
  readonly #outcomes: Outcomes;
  readonly #entries = new Map<string, Entry>();
  readonly #lock = new KeyedLock();
  #running = 0;
  #timers: Timer[] = [];
  #stopped = false;

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#issuer = new Issuer({ ...options, lock: this.#lock });
    this.#adopter = new Adopter({ ...options, lock: this.#lock });
    this.#outcomes = new Outcomes(options);
  }

  /**
   * Takes over what the node is to hold. What is no longer declared is removed, but for the names in `keep`. `changed` says that the coordinator sent something new:
   * then refusals are forgotten, for the refused may be allowed now.
   */
  async setDesired(desired: DesiredCertificate[], { changed, keep = [] }: { changed: boolean; keep?: string[] }): Promise<void> {
    const declared = new Set([...desired.map(({ spec }) => spec.name), ...keep]);
    for (const name of new Set([...(await this.#options.files.names()), ...this.#entries.keys()])) {
      if (!declared.has(name)) await this.#remove(name);
    }
    for (const certificate of desired) await this.#declare(certificate, changed);
    for (const entry of this.#entries.values()) this.#tell(entry);
    this.#options.onChange();
    this.tick();
  }

  /** Somebody wants these renewed now; none named means all. */
  renewNow(names: string[], reason: string): void {
    for (const entry of this.#entries.values()) {
      if (names.length > 0 && !names.includes(entry.desired.spec.name)) continue;
      this.#options.logger.info('A renewal was requested', { certificate: entry.desired.spec.name, reason });
      entry.renewRequests += 1;
      delete entry.failure;
    }
    this.tick();
  }

  /** The coordinator can be reached again: tries that failed for want of it need not wait to the end. */
  connected(): void {
    const now = this.#now();
    for (const { failure } of this.#entries.values()) {
      if (!failure || !transportErrors.has(failure.code)) continue;
      const delayMs = Math.min(failure.timeLeftMs / 8, reconnectSpreadMs) * this.#options.random();
      failure.retryAt = earlier(failure.retryAt, { wallMs: now.wallMs + delayMs, monotonicMs: now.monotonicMs + delayMs });
    }
    this.tick();
  }

  /** Looks at every certificate, starts what is due and sets the timers for the rest. Cheap and idempotent: call it whenever something may have changed. */
  tick(): void {
    if (this.#stopped) return;
    const now = this.#now();
    for (const { desired, installed } of this.#entries.values()) {
      if (installed && this.#outcomes.lapsed(desired.spec.name, installed)) this.#options.onChange();
    }
    const due = [...this.#entries.values()].sort((a, b) => urgencyMs(viewOf(a)) - urgencyMs(viewOf(b)));
    for (const entry of due) {
      const next = plan(viewOf(entry), now);
      if (next.action === 'wait' || entry.task || this.#running >= (this.#options.maxConcurrent ?? 4)) continue;
      this.#start(entry, next);
    }
    this.#setTimers(now);
  }

  /** Ends the work in progress and waits for it; nothing is started any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) timer.cancel();
    for (const entry of this.#entries.values()) entry.abort.abort();
    await Promise.all([...this.#entries.values()].map(({ task }) => task));
  }

  snapshots(): CertificateSnapshot[] {
    const nowMs = this.#options.clock.nowMs();
    return [...this.#entries.values()].map((entry) => snapshotOf(entry, this.#options.counters.get(entry.desired.spec.name), nowMs));
  }

  /** The shortest time in which something has to be renewed or got, milliseconds; infinite when nothing is declared. */
  shortestTimeLeftMs(): number {
    const nowMs = this.#options.clock.nowMs();
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.#entries.values()].map((entry) => timeLeftMs(viewOf(entry), nowMs)));
  }

  declared(): DesiredCertificate[] {
    return [...this.#entries.values()].map(({ desired }) => desired);
  }

  /** What is declared and installed now, for scans. */
  installed(): { certificate: DesiredCertificate; pair: InstalledPair }[] {
    return [...this.#entries.values()].flatMap(({ desired, installed }) => (installed ? [{ certificate: desired, pair: installed }] : []));
  }

  /** True: the installed pair is over. */
  hasEnded(name: string): boolean {
    const installed = this.#entries.get(name)?.installed;
    return installed !== undefined && installed.notAfterMs <= this.#options.clock.nowMs();
  }

  /** Runs work on a certificate's files while nothing else does. */
  withFiles<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.#lock.run(name, work);
  }

  /** The declared files and the agent's copy are of no use: a new certificate is needed. True when that was news. */
  markDamaged(name: string): boolean {
    const entry = this.#entries.get(name);
    if (!entry || entry.damaged) return false;
    entry.damaged = true;
    this.#options.onChange();
    this.tick();
    return true;
  }

  /** What lies at the declared paths may be of use now, where nothing of use was there. */
  lookAgain(): void {
    for (const entry of this.#entries.values()) if (entry.desired.watchOnly) entry.looked = false;
    this.tick();
  }

  /**
   * Somebody else has renewed what is used as it was found: the newer pair is taken over in its place. False: what lies there now is not to be taken over.
   * Errors: as of CoordinatorApi.adoptCertificate, when it is worth another try.
   */
  async followInPlace(name: string): Promise<boolean> {
    const entry = this.#entries.get(name);
    if (!entry?.installed || entry.task !== undefined) return true;
    const outcome = await this.#adopter.adopt(entry.desired, { deadlineMs: shortestCallMs, signal: entry.abort.signal }, entry.installed);
    if (!('pair' in outcome)) return false;
    this.#adopted(entry, outcome);
    return true;
  }

  setServed(name: string, serial: string, served: Served): void {
    const entry = this.#entries.get(name);
    if (!entry || entry.installed?.serial !== serial || entry.served === served) return;
    entry.served = served;
    this.#options.onChange();
  }

  /** Notes or clears what is wrong with a certificate's files or with its reload. True when that was news. */
  setError(name: string, source: ErrorSource, error: EvercertError | undefined): boolean {
    const entry = this.#entries.get(name);
    if (!entry || entry.errors.get(source)?.message === error?.message) return false;
    if (error) entry.errors.set(source, error);
    else entry.errors.delete(source);
    this.#options.onChange();
    return true;
  }

  async #declare(desired: DesiredCertificate, changed: boolean): Promise<void> {
    const { name, specHash } = desired.spec;
    const known = this.#entries.get(name);
    if (known) {
      const sameSpec = known.desired.spec.specHash === specHash;
      if (!sameSpec) known.keyPrepared = false;
      const stale = known.failure && isStale(known.failure, known.desired.revoked, desired.revoked);
      const event = revocationEvent(known.desired.revoked, desired, known.installed?.serial);
      if (event) this.#options.events.record(event);
      if (!sameSpec || (changed && stale)) delete known.failure;
      const moved = placedOtherwise(known.desired, desired);
      known.desired = desired;
      if (moved && sameSpec && known.installed && !desired.watchOnly) await this.#place(known, known.installed);
      return;
    }
    const entry = newEntry(desired);
    const pair = await this.#options.files.installed(name);
    const counters = this.#options.counters.get(name);
    if (pair) entry.installed = pair;
    else entry.damaged = counters.issuedTotal > 0;
    this.#entries.set(name, entry);
    const event = revocationEvent(undefined, desired, pair?.serial);
    if (event) this.#options.events.record(event);
    if (pair && !pair.adopted && counters.activatedSerial !== pair.serial) this.#options.activate(desired, pair);
  }

  /** A coordinator that was restored from a backup hears of the certificate in use, if it does not know it; tried again with its next word where that fails. */
  #tell(entry: Entry): void {
    const { desired, installed, abort } = entry;
    const { knownSerial } = desired;
    if (!installed || knownSerial === undefined || knownSerial === installed.serial || entry.told === installed.serial) return;
    const { serial, name } = installed;
    entry.told = serial;
    this.#adopter.tell(desired, installed, { deadlineMs: longestCallMs, signal: abort.signal }).then(
      (why) => {
        const { logger } = this.#options;
        if (why === undefined) logger.info('told the coordinator of the certificate in use', { certificate: name, serial });
        else logger.warn('the coordinator does not take the certificate in use into its records', { certificate: name, serial, why });
      },
      () => {
        delete entry.told;
      },
    );
  }

  /** The declaration of the files has changed, not that of the certificate: the installed pair goes to its new places. */
  async #place(entry: Entry, pair: InstalledPair): Promise<void> {
    const { files, activate } = this.#options;
    const { spec, trustAnchors } = entry.desired;
    const { name } = spec;
    try {
      const changed = await this.#lock.run(name, () => files.restore(spec, trustAnchors));
      if (changed.length === 0) return;
      this.#outcomes.placed(name, pair);
      activate(entry.desired, pair);
    } catch (caught) {
      this.#outcomes.notPlaced(name, caught);
    }
  }

  async #remove(name: string): Promise<void> {
    const entry = this.#entries.get(name);
    this.#entries.delete(name);
    entry?.abort.abort();
    await entry?.task;
    this.#options.deactivate(name);
    try {
      await this.#lock.run(name, () => this.#options.files.remove(name));
      this.#outcomes.removed(name);
    } catch (caught) {
      this.#outcomes.notRemoved(name, caught);
    }
  }

  #start(entry: Entry, next: Exclude<Plan, { action: 'wait' }>): void {
    this.#running += 1;
    if (next.action === 'issue') entry.issuing = next.reason;
    if (next.action === 'adopt') entry.issuing = 'Initial';
    const work =
      next.action === 'issue' ? this.#issue(entry, next.reason) : next.action === 'adopt' ? this.#adopt(entry) : this.#prepare(entry);
    entry.task = work.finally(() => {
      this.#running -= 1;
      delete entry.task;
      delete entry.issuing;
      this.#options.onChange();
      this.tick();
    });
    this.#options.onChange();
  }

  async #issue(entry: Entry, reason: IssueReason): Promise<void> {
    const requests = entry.renewRequests;
    const { desired } = entry;
    const left = timeLeftMs(viewOf(entry), this.#options.clock.nowMs());
    const deadlineMs = Math.min(longestCallMs, Math.max(shortestCallMs, left / 8));
    try {
      const pair = await this.#issuer.issue(desired, reason, { deadlineMs, signal: entry.abort.signal });
      entry.renewRequestsMet = requests;
      this.#installed(entry, desired, pair, reason);
    } catch (error) {
      this.#failed(entry, toEvercertError(error));
    }
  }

  /** Before another certificate is asked for; nothing found, or a refusal, is no failure. */
  async #adopt(entry: Entry): Promise<void> {
    const { name } = entry.desired.spec;
    const left = timeLeftMs(viewOf(entry), this.#options.clock.nowMs());
    const deadlineMs = Math.min(longestCallMs, Math.max(shortestCallMs, left / 8));
    try {
      const outcome = await this.#adopter.adopt(entry.desired, { deadlineMs, signal: entry.abort.signal });
      entry.looked = true;
      delete entry.failure;
      if ('pair' in outcome) this.#adopted(entry, outcome);
      else this.#notAdopted(entry, name, outcome.why);
    } catch (error) {
      this.#failed(entry, toEvercertError(error));
    }
  }

  #adopted(entry: Entry, { pair, differences }: { pair: InstalledPair; differences: string[] }): void {
    entry.installed = pair;
    entry.damaged = false;
    entry.keyPrepared = false;
    entry.served = '';
    entry.errors.clear();
    this.#outcomes.adopted(pair.name, pair, differences);
    this.#options.onChange();
    this.tick();
  }

  #notAdopted(entry: Entry, name: string, why: string | undefined): void {
    if (!entry.desired.watchOnly) {
      if (why !== undefined) this.#outcomes.notAdopted(name, why);
      return;
    }
    const found = why === undefined ? 'nothing is in place' : `what is in place is of no use: ${why}`;
    const news = this.setError(
      name,
      'files',
      new EvercertError(
        'FailedPrecondition',
        `${found}; the key of ${entry.desired.spec.issuer} is not at the coordinator, so that nothing is issued here`,
      ),
    );
    if (news && why !== undefined) this.#outcomes.notAdopted(name, why);
  }

  async #prepare(entry: Entry): Promise<void> {
    try {
      await this.#issuer.prepare(entry.desired);
    } catch (caught) {
      this.#outcomes.notPrepared(entry.desired.spec.name, caught);
    }
    entry.keyPrepared = true;
  }

  #installed(entry: Entry, desired: DesiredCertificate, pair: InstalledPair, reason: IssueReason): void {
    const { name } = desired.spec;
    entry.installed = pair;
    entry.damaged = false;
    entry.keyPrepared = false;
    entry.served = '';
    delete entry.failure;
    entry.errors.clear();
    this.#outcomes.installed(name, pair, reason);
    if (this.#entries.get(name) === entry) this.#options.activate(desired, pair);
  }

  #failed(entry: Entry, error: EvercertError): void {
    if (this.#stopped || entry.abort.signal.aborted) return;
    const before = entry.failure;
    entry.failure = nextFailure(viewOf(entry), error, this.#now(), this.#options.random());
    this.#outcomes.failed(entry.desired.spec.name, entry.failure, { before, renewal: entry.installed !== undefined });
  }

  #setTimers(now: Moment): void {
    for (const timer of this.#timers) timer.cancel();
    const { wallMs, retryInMs } = nextLook([...this.#entries.values()].map(viewOf), now);
    const { clock } = this.#options;
    this.#timers = [];
    if (Number.isFinite(wallMs)) this.#timers.push(clock.at(wallMs, () => this.tick()));
    if (Number.isFinite(retryInMs)) this.#timers.push(clock.after(Math.max(0, retryInMs), () => this.tick()));
  }

  #now(): Moment {
    return { wallMs: this.#options.clock.nowMs(), monotonicMs: this.#options.clock.monotonicMs() };
  }
}

function earlier(a: Moment, b: Moment): Moment {
  return { wallMs: Math.min(a.wallMs, b.wallMs), monotonicMs: Math.min(a.monotonicMs, b.monotonicMs) };
}
