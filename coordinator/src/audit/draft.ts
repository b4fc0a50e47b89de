import { type AuditCheckpoint, type AuditEvent, afterCheckpoint, entryText, formatLine } from '@evercert/shared/audit';
import type { Block } from './blocks.ts';
import { auditEvent } from './convert.ts';
import type { FoundEvent } from './event-feed.ts';
import type { AuditHeadRecord, EventPosition } from './records.ts';

/** A block holds at most so much, before it is packed. */
export const maxBlockEntries = 256;
export const maxBlockCharacters = 256 * 1024;

/** Asks for a checkpoint behind it: whoever exports the log wants it signed to its end. */
export const exportedReason = 'AuditExported';

/** The next block, as it grows. */
export class BlockDraft {
  readonly #head: AuditHeadRecord;
  #lines = '';
  #entries = 0;
  #hash: string;
  #position: EventPosition;
  #minMs = 0;
  #maxMs = 0;
  /** Somebody waits for a signature. */
  wantsCheckpoint = false;
  checkpoint: AuditCheckpoint | undefined;

  constructor(head: AuditHeadRecord) {
    this.#head = head;
    this.#hash = head.hash;
    this.#position = head.position;
  }

  get entries(): number {
    return this.#entries;
  }

  get full(): boolean {
    return this.#entries >= maxBlockEntries || this.#lines.length >= maxBlockCharacters;
  }

  /** The log's state so far: what a checkpoint signs. */
  get state(): { log: string; sequence: number; hash: string } {
    return { log: this.#head.log, sequence: this.#head.sequence + this.#entries, hash: this.#hash };
  }

  addEvent({ record, revision, position }: FoundEvent): void {
    this.addEntry(auditEvent(record), revision);
    this.#position = position;
    if (record.reason === exportedReason) this.wantsCheckpoint = true;
  }

  /** What the log tells of itself. */
  addEntry(event: AuditEvent, revision: number): void {
    const { text, hash } = entryText(this.#hash, { sequence: this.#head.sequence + this.#entries + 1, revision }, event);
    const timeMs = Date.parse(event.time);
    this.#minMs = this.#entries === 0 ? timeMs : Math.min(this.#minMs, timeMs);
    this.#maxMs = Math.max(this.#maxMs, timeMs);
    this.#lines += text;
    this.#entries += 1;
    this.#hash = hash;
  }

  /** Nothing can be added behind it. */
  addCheckpoint(checkpoint: AuditCheckpoint): void {
    this.checkpoint = checkpoint;
    this.#lines += formatLine(checkpoint);
    this.#hash = afterCheckpoint(this.#hash, checkpoint);
  }

  block(sealedAtMs: number): Block {
    const { log, sequence, block, hash } = this.#head;
    const times = { sealedAtMs, minMs: this.#minMs, maxMs: this.#maxMs };
    return { log, number: block + 1, first: sequence + 1, entries: this.#entries, previous: hash, ...times, lines: this.#lines };
  }

  /** Where the log stands once the block is written. */
  next(bytes: number): AuditHeadRecord {
    const { sequence } = this.state;
    const { checkpoint } = this;
    const { checkpointSequence, checkpointAtMs, ...head } = this.#head;
    return {
      ...head,
      sequence,
      hash: this.#hash,
      block: head.block + 1,
      position: this.#position,
      checkpointSequence: checkpoint ? sequence : checkpointSequence,
      checkpointAtMs: checkpoint ? Date.parse(checkpoint.time) : checkpointAtMs,
      bytes: head.bytes + bytes,
    };
  }
}
