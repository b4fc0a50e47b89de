import { afterCheckpoint, entryHash, genesis } from './chain.ts';
import { EntryHashes } from './entry-hashes.ts';
import { parseLine } from './lines.ts';
import { signatureFault } from './signature.ts';
import { trustFault } from './trust.ts';
import type { AuditCheckpoint, AuditEntryLine, AuditHeader } from './types.ts';

export type AuditFaultKind =
  /** A line that is none of the log's. */
  | 'unreadable'
  /** The chain does not fit: something was changed, added, taken away or moved. */
  | 'broken'
  | 'missing'
  /** Entries that stand where others come first, or stand twice. */
  | 'order'
  /** A checkpoint that signs something else, or whose signature is not good. */
  | 'checkpoint'
  /** A checkpoint by a key that the CA did not name for it. */
  | 'strange-key'
  /** It ends in the middle of a line, or before it is signed, or before the coordinator's log does. */
  | 'cut-off'
  /** It does not begin where the log begins. */
  | 'beginning'
  /** Two logs that were one disagree. */
  | 'fork';

export interface AuditFault {
  kind: AuditFaultKind;
  source: string;
  /** From 1; 0: the whole. */
  line: number;
  /** Of the entry at which it was found. */
  sequence: number;
  message: string;
}

/** What came of reading one file or export. */
export interface CheckedLog {
  source: string;
  /** Undefined: nothing was in it that could be read. */
  log: string | undefined;
  /** Sequence number with which it begins. */
  first: number;
  /** Of the last entry; `first - 1` when it has none. */
  last: number;
  /** The chain's value before the first entry, as the header has it; undefined: there is no header. */
  previous: string | undefined;
  /** The chain's value at the end. */
  end: string;
  hashes: EntryHashes;
  /** The chain's values behind checkpoints, by the entry before them. */
  checkpointValues: ReadonlyMap<number, readonly string[]>;
  /** Last entry that a trusted checkpoint covers; 0: none is. */
  signed: number;
  checkpoints: number;
  entries: number;
  /** Entries that tell of a restored store: from there on, a log may differ from another that was the same before. */
  restored: ReadonlySet<number>;
  /** Checkpoints by strange keys that no trusted one covers, and those that one does: a CA that was replaced. */
  strange: AuditFault[];
  faults: AuditFault[];
}

/** More are not told: whoever reads them knows by then. */
const maxFaults = 100;

/** Checks one log line by line. */
export class LogCheck {
  readonly #source: string;
  readonly #anchors: readonly Buffer[];
  readonly #faults: AuditFault[] = [];
  readonly #values = new Map<number, string[]>();
  readonly #restored = new Set<number>();
  #strange: AuditFault[] = [];
  #hashes: EntryHashes | undefined;
  #log: string | undefined;
  #previous: string | undefined;
  #next = 1;
  #value = '';
  #signed = 0;
  #entries = 0;
  #checkpoints = 0;
  #line = 0;

  constructor(source: string, anchors: readonly Buffer[]) {
    this.#source = source;
    this.#anchors = anchors;
  }

  /** @param text without its line feed. */
  line(text: string): void {
    this.#line += 1;
    const line = parseLine(text);
    if (typeof line === 'string') this.fault('unreadable', line);
    else if (line.type === 'header') this.#header(line);
    else {
      if (this.#hashes === undefined) this.#begin(line.type === 'entry' ? line.sequence : line.sequence + 1);
      if (line.type === 'entry') this.#entry(line);
      else this.#checkpoint(line);
    }
  }

  fault(kind: AuditFaultKind, message: string): void {
    if (this.#faults.length < maxFaults) this.#faults.push(this.#faultOf(kind, message));
  }

  end(): CheckedLog {
    const hashes = this.#hashes ?? new EntryHashes(this.#next);
    return {
      source: this.#source,
      log: this.#log,
      first: hashes.first,
      last: this.#next - 1,
      previous: this.#previous,
      end: this.#value,
      hashes,
      checkpointValues: this.#values,
      signed: this.#signed,
      checkpoints: this.#checkpoints,
      entries: this.#entries,
      restored: this.#restored,
      strange: this.#strange,
      faults: this.#faults,
    };
  }

  #faultOf(kind: AuditFaultKind, message: string): AuditFault {
    return { kind, source: this.#source, line: this.#line, sequence: this.#next, message };
  }

  /** Without a header nothing says what came before: the first line is taken as it is. */
  #begin(sequence: number): void {
    this.fault('beginning', 'there is no header before the first entry: lines were taken away from the beginning');
    this.#next = sequence;
    this.#hashes = new EntryHashes(sequence);
  }

  #header(header: AuditHeader): void {
    if (this.#hashes === undefined) {
      this.#log = header.log;
      this.#previous = header.previous;
      this.#hashes = new EntryHashes(header.sequence);
      if (header.sequence === 1 && header.previous !== genesis(header.log))
        this.fault('broken', 'the header is not that of a log that begins');
    } else if (this.#entries + this.#checkpoints === 0) {
      this.fault('order', 'a second header stands where entries are expected');
    } else if (header.log !== this.#log) {
      this.fault('broken', `another log begins here: ${header.log}, not ${String(this.#log)}`);
    } else if (!this.#isInOrder(header.sequence) || header.previous !== this.#value) {
      this.fault('broken', `the header does not follow from what stands before it`);
    }
    this.#next = header.sequence;
    this.#value = header.previous;
  }

  #entry(entry: AuditEntryLine): void {
    const { sequence, hash, event } = entry;
    const inOrder = this.#isInOrder(sequence);
    if (inOrder && this.#value !== '' && entryHash(this.#value, entry) !== hash) {
      this.fault(
        'broken',
        `entry ${sequence} does not follow from what stands before it: it was changed, or a line before it was changed, added, moved or taken away`,
      );
    }
    this.#entries += 1;
    this.#next = sequence + 1;
    // What comes next is judged by what this entry says of itself, so that one change is one fault.
    this.#value = hash;
    this.#hashes?.add(sequence, hash);
    if (event.reason === 'StoreRestored') this.#restored.add(sequence);
  }

  #isInOrder(sequence: number): boolean {
    const next = this.#next;
    if (sequence > next) {
      this.fault('missing', next === sequence - 1 ? `entry ${next} is missing` : `entries ${next} to ${sequence - 1} are missing`);
    } else if (sequence < next) {
      this.fault('order', `entry ${sequence} stands behind entry ${next - 1}: it was moved, or put in a second time`);
    }
    return sequence === next;
  }

  #checkpoint(checkpoint: AuditCheckpoint): void {
    this.#checkpoints += 1;
    const wrong = this.#wrongCheckpoint(checkpoint);
    if (wrong !== undefined) this.fault('checkpoint', `the checkpoint behind entry ${checkpoint.sequence}: ${wrong}`);
    else {
      const strange = trustFault(checkpoint, this.#anchors);
      if (strange !== undefined) {
        this.#strange.push(
          this.#faultOf('strange-key', `the checkpoint behind entry ${checkpoint.sequence} is by a strange key: ${strange}`),
        );
      } else {
        // It covers those before it: whoever holds this key has taken them for good.
        this.#strange = [];
        this.#signed = checkpoint.sequence;
      }
    }
    if (this.#value !== '') this.#value = afterCheckpoint(this.#value, checkpoint);
    const values = this.#values.get(checkpoint.sequence);
    if (values) values.push(this.#value);
    else this.#values.set(checkpoint.sequence, [this.#value]);
  }

  #wrongCheckpoint(checkpoint: AuditCheckpoint): string | undefined {
    this.#log ??= checkpoint.log;
    if (checkpoint.log !== this.#log) return `it is of another log: ${checkpoint.log}`;
    if (checkpoint.sequence !== this.#next - 1) return `it stands behind entry ${this.#next - 1}`;
    if (this.#value !== '' && checkpoint.hash !== this.#value) {
      return 'it signs another state of the log: entries before it were changed, added, moved or taken away';
    }
    return signatureFault(checkpoint);
  }
}
