import { randomBytes } from 'node:crypto';
import type { AuditEvent } from '@evercert/shared/audit';
import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { eventId } from '../events/recorder.ts';
import { layout } from '../state/layout.ts';
import { encodeRecord } from '../state/records.ts';
import type { KeyValue, Operation, Store } from '../store/index.ts';
import { encodeBlock } from './blocks.ts';
import { BlockDraft, maxBlockEntries } from './draft.ts';
import { type FoundEvent, followEvents } from './event-feed.ts';
import { type OpenedHead, openHead } from './head.ts';
import { Inbox } from './inbox.ts';
import { comparePositions, positionOf, throughRevision } from './position.ts';
import type { AuditHeadRecord, AuditRelinkRecord } from './records.ts';
import type { CheckpointSigner } from './signer.ts';
import { trimBlocks } from './trim.ts';
import { findUnsealed } from './unsealed.ts';

export interface SealerOptions {
  /** Writes only while this coordinator leads. */
  store: Store;
  clock: Clock;
  logger: Logger;
  signer: Pick<CheckpointSigner, 'sign'>;
  /** A checkpoint is due after so long, or so many entries, whichever comes first. */
  checkpoint: { everyMs: number; entries: number };
  /** Blocks older than this, or beyond so many bytes of all, are dropped. */
  keep: { ageMs: number; bytes: number };
  fault: (name: string) => void;
}

/** What came is sealed after so long at the latest. */
const sealAfterMs = 1000;
const retryMs = 1000;
const trimEveryMs = 10 * 60_000;

/**
 * Takes events in the store's order into the log's hash chain, block by block. Each block is written in one transaction with the record of where the log stands, which is compared:
 * so nothing is sealed twice or left out, whatever crashes in between and whoever leads. Every failure ends in beginning again from that record.
 */
export class Sealer {
  readonly #options: SealerOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #head: AuditHeadRecord | undefined;
  #headRevision = 0;
  #nextTrimMs = 0;
  #warned = { text: '', untilMs: 0 };

  constructor(options: SealerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Whether an event stands in the log; false as long as that is not known. */
  isSealed(entry: Pick<KeyValue, 'key' | 'createRevision'>): boolean {
    const head = this.#head;
    return head !== undefined && !head.relisting && comparePositions(positionOf(entry), head.position) <= 0;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#seal();
      } catch (error) {
        if (signal.aborted) return;
        this.#warn('the audit log cannot be sealed for now; trying again', error);
        // A stop ends the wait.
        await clock.sleep(retryMs, signal).catch(() => undefined);
      }
    }
  }

  /** From where the log stands until something fails, or the stop. */
  async #seal(): Promise<void> {
    const { store, clock } = this.#options;
    const opened = await openHead(store, { nowMs: clock.nowMs(), newId: () => randomBytes(16).toString('hex') });
    this.#take(opened.record, opened.modRevision);
    if (opened.moved) await this.#relink(opened.moved);
    const feed = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, feed.signal]);
    const inbox = new Inbox(clock);
    const filling = inbox.fill(followEvents(store, this.#current().position, signal));
    try {
      while (!signal.aborted) {
        if (this.#isDue(inbox)) await this.#write(this.#drafted(inbox), [], inbox);
        else if (inbox.over) return;
        else await this.#wait(inbox, signal);
        await this.#trim();
      }
      await this.#writeLast(inbox);
    } finally {
      feed.abort();
      inbox.drop(inbox.size);
      await filling;
    }
  }

  /** What is here is sealed and signed before the stop; where that fails, whoever leads next does it. */
  async #writeLast(inbox: Inbox): Promise<void> {
    const draft = this.#drafted(inbox);
    draft.wantsCheckpoint = draft.state.sequence > this.#current().checkpointSequence;
    try {
      await this.#write(draft, [], inbox);
    } catch (error) {
      this.#options.logger.info('the end of the audit log is sealed by the next leader', { error: describeError(error) });
    }
  }

  /** A trouble that lasts is told once a minute. */
  #warn(message: string, error: unknown): void {
    const { clock, logger } = this.#options;
    const text = `${message}: ${describeError(error)}`;
    if (text === this.#warned.text && clock.monotonicMs() < this.#warned.untilMs) return;
    this.#warned = { text, untilMs: clock.monotonicMs() + 60_000 };
    logger.warn(message, { error: describeError(error) });
  }

  #current(): AuditHeadRecord {
    if (this.#head === undefined) throw new Error('the log is not open');
    return this.#head;
  }

  #take(head: AuditHeadRecord, modRevision: number): void {
    this.#head = head;
    this.#headRevision = modRevision;
  }

  #isDue(inbox: Inbox): boolean {
    if (inbox.size >= maxBlockEntries || inbox.isAwaited) return true;
    if (inbox.size > 0 && this.#options.clock.monotonicMs() >= inbox.sinceMs + sealAfterMs) return true;
    return this.#isCheckpointDue(this.#current().sequence);
  }

  /** With the log ending at this entry. A clock that went back does not put it off for long. */
  #isCheckpointDue(sequence: number): boolean {
    const { clock, checkpoint } = this.#options;
    const { checkpointSequence, checkpointAtMs } = this.#current();
    if (sequence === checkpointSequence) return false;
    return sequence - checkpointSequence >= checkpoint.entries || Math.abs(clock.nowMs() - checkpointAtMs) >= checkpoint.everyMs;
  }

  /** Until something comes, or what is here is due. */
  async #wait(inbox: Inbox, signal: AbortSignal): Promise<void> {
    const { clock, checkpoint } = this.#options;
    const { sequence, checkpointSequence, checkpointAtMs } = this.#current();
    const waits = [
      ...(inbox.size > 0 ? [inbox.sinceMs + sealAfterMs - clock.monotonicMs()] : []),
      ...(sequence > checkpointSequence ? [checkpointAtMs + checkpoint.everyMs - clock.nowMs()] : []),
      ...(inbox.size > 0 ? [] : [trimEveryMs]),
    ];
    const over = new AbortController();
    const timer = clock.sleep(Math.max(1, Math.min(...waits)), AbortSignal.any([signal, over.signal])).catch(() => undefined);
    await Promise.race([timer, inbox.changed()]);
    over.abort();
  }

  #drafted(inbox: Inbox): BlockDraft {
    const draft = new BlockDraft(this.#current());
    for (let event = inbox.peek(0); event && !draft.full; event = inbox.peek(draft.entries)) draft.addEvent(event);
    return draft;
  }

  /** Writes the block with what belongs to it, and takes its events out of the inbox. */
  async #write(draft: BlockDraft, operations: readonly Operation[], inbox?: Inbox, change: Partial<AuditHeadRecord> = {}): Promise<void> {
    const { store, clock, fault } = this.#options;
    if (draft.wantsCheckpoint || this.#isCheckpointDue(draft.state.sequence)) await this.#sign(draft);
    if (draft.entries === 0 && !draft.checkpoint) return;
    const block = draft.block(clock.nowMs());
    const value = await encodeBlock(block);
    const head = { ...draft.next(value.length), ...change };
    fault('audit-seal-begun');
    const { succeeded, revision } = await store.transact(
      [{ key: layout.auditHead, modRevision: this.#headRevision }],
      [
        { type: 'put', key: layout.auditBlock(block.first, block.number), value },
        { type: 'put', key: layout.auditHead, value: encodeRecord(head) },
        ...operations,
      ],
    );
    if (!succeeded) throw new EvercertError('Conflict', 'another coordinator has sealed the audit log meanwhile');
    fault('audit-seal-acted');
    this.#take(head, revision);
    inbox?.drop(draft.entries);
  }

  /** A key that cannot sign for now holds nothing up: the next block tries again. */
  async #sign(draft: BlockDraft): Promise<void> {
    const { signer, clock } = this.#options;
    try {
      draft.addCheckpoint(await signer.sign(draft.state));
    } catch (error) {
      this.#warn('the audit log cannot be signed for now; it goes on unsigned', error);
      if (draft.entries === 0) await clock.sleep(retryMs, this.#stop.signal);
    }
  }

  /** Takes in what a restored or migrated store holds and its log does not, and tells of it first. */
  async #relink({ store: identity, relink }: NonNullable<OpenedHead['moved']>): Promise<void> {
    const { store, clock } = this.#options;
    const told = new BlockDraft(this.#current());
    if (!this.#current().relisting || relink) {
      told.addEntry(movedEvent(identity, { relink, nowMs: clock.nowMs(), before: this.#current() }), 0);
      told.wantsCheckpoint = true;
      const done: Operation[] = relink ? [{ type: 'delete', key: layout.auditRelink }] : [];
      await this.#write(told, done, undefined, { store: identity, relisting: true });
    }
    const { events, revision } = await findUnsealed(store);
    while (events.length > 0) {
      const draft = new BlockDraft(this.#current());
      while (events.length > 0 && !draft.full) draft.addEvent(events.shift() as FoundEvent);
      await this.#write(draft, []);
    }
    await this.#settle({ ...this.#current(), store: identity, position: throughRevision(revision) });
  }

  /** All that was in the store is in the log: from here on revisions count again. */
  async #settle({ relisting: _done, ...head }: AuditHeadRecord): Promise<void> {
    const put: Operation = { type: 'put', key: layout.auditHead, value: encodeRecord(head) };
    const { succeeded, revision } = await this.#options.store.transact([{ key: layout.auditHead, modRevision: this.#headRevision }], [put]);
    if (!succeeded) throw new EvercertError('Conflict', 'another coordinator has sealed the audit log meanwhile');
    this.#take(head, revision);
  }

  async #trim(): Promise<void> {
    const { store, clock, logger, keep } = this.#options;
    if (clock.monotonicMs() < this.#nextTrimMs) return;
    this.#nextTrimMs = clock.monotonicMs() + trimEveryMs;
    const { head, modRevision, dropped } = await trimBlocks(
      store,
      { head: this.#current(), modRevision: this.#headRevision },
      { keep, nowMs: clock.nowMs() },
    );
    this.#take(head, modRevision);
    if (dropped > 0) logger.info('dropped the oldest blocks of the audit log', { blocks: dropped, oldest: head.oldest });
  }
}

interface Move {
  relink: AuditRelinkRecord | undefined;
  nowMs: number;
  before: AuditHeadRecord;
}

function movedEvent(identity: string, { relink, nowMs, before }: Move): AuditEvent {
  const timeMs = relink?.atMs ?? nowMs;
  return {
    id: eventId(timeMs, randomBytes(5).toString('hex')),
    time: new Date(timeMs).toISOString(),
    actor: relink?.actor ?? 'coordinator',
    reason: relink?.reason ?? 'StoreRestored',
    type: relink ? 'Normal' : 'Warning',
    message: relink?.message ?? 'the store is another than the one that this log was in: it was restored or copied by hand',
    details: { ...relink?.details, storeBefore: before.store, store: identity, lastSequence: String(before.sequence) },
  };
}
