import { type AuditEntryLine, formatLine, parseLine } from '@evercert/shared/audit';
import { EvercertError } from '@evercert/shared/errors';
import { layout } from '../state/layout.ts';
import { decodeRecord } from '../state/records.ts';
import type { RangeResult, Store } from '../store/index.ts';
import { decodeBlockHead, decodeLines } from './blocks.ts';
import { type AuditFilter, matchingEntries, mayHold } from './filter.ts';
import type { AuditHeadRecord } from './records.ts';

/** Blocks read in one range of the store, and those looked at for one page: a filter that matches little must not read the whole log in one call. */
const blocksAtOnce = 8;
const blocksPerPage = 400;
const defaultPage = 100;
const maxPage = 1000;
/** An answer of gRPC has 4 MiB. */
const maxPageCharacters = 1024 * 1024;

export interface ExportOptions {
  /** First entry; 0: the oldest that is kept. */
  from: number;
  /** Goes on with new entries until the signal aborts. */
  follow: boolean;
  /** Of what does not follow: the last entry; absent: the last that is there. */
  until?: number;
  signal: AbortSignal;
}

/** Reads the sealed log in the store; every coordinator can. */
export class AuditReader {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Undefined: nothing was sealed yet. */
  async head(): Promise<AuditHeadRecord | undefined> {
    const entry = await this.#store.get(layout.auditHead);
    return entry && decodeRecord<AuditHeadRecord>(entry.key, entry.value);
  }

  /**
   * Entries that match, newest first. InvalidArgument: the token is none of this call's.
   * @param page its size (0: 100), and the token of the page before, empty for the first. A page may be short, or empty, and still have a next one: a call looks at so many blocks only.
   */
  async list(filter: AuditFilter, page: { size: number; token: string }): Promise<{ items: AuditEntryLine[]; next: string }> {
    const wanted = page.size <= 0 ? defaultPage : Math.min(page.size, maxPage);
    const items: AuditEntryLine[] = [];
    let characters = 0;
    let before = readToken(page.token);
    let after = before && layout.auditBlock(before, 0);
    for (let looked = 0; looked < blocksPerPage; looked += blocksAtOnce) {
      const { entries, more } = await this.#blocks({ reverse: true, limit: blocksAtOnce, ...(after && { after }) });
      for (const block of entries) {
        const head = decodeBlockHead(block);
        const found = mayHold(head, filter) ? matchingEntries(await decodeLines(block), filter) : [];
        for (const entry of found.reverse()) {
          if (before !== undefined && entry.sequence >= before) continue;
          items.push(entry);
          characters += JSON.stringify(entry).length;
          if (items.length === wanted || characters > maxPageCharacters) return { items, next: tokenOf(entry.sequence) };
        }
        after = block.key;
        before = head.first;
      }
      if (!more) return { items, next: '' };
    }
    return { items, next: tokenOf(before ?? 1) };
  }

  /** Where an export from an entry on begins. Errors: FailedPrecondition, Unavailable, as of `export`. */
  async begin(from: number): Promise<{ head: AuditHeadRecord; first: number }> {
    const head = await this.head();
    if (head === undefined) throw nothingYet();
    const first = from === 0 ? head.oldest : from;
    if (first < head.oldest || first > head.sequence + 1) throw notKept(first, head);
    return { head, first };
  }

  /**
   * The log as it is kept, oldest first, in pieces of whole lines; the first line is a header. Errors: FailedPrecondition (the first entry asked for is not kept any more, or not
   * there yet), Unavailable (nothing was sealed yet), DataLoss.
   */
  async *export({ from, follow, until, signal }: ExportOptions): AsyncIterable<string> {
    const { head, first } = await this.begin(from);
    const last = Math.max(until ?? head.sequence, first);
    const start = await this.#start(first, head);
    yield formatLine({ type: 'header', v: 1, log: head.log, sequence: first, previous: start.previous });
    if (start.text !== '') yield start.text;
    let after = start.key;
    for (;;) {
      const { entries, revision } = await this.#blocks({ limit: blocksAtOnce, after });
      for (const block of entries) {
        const { first: begins, entries: count } = decodeBlockHead(block);
        if (!follow && count > 0 && begins > last) return;
        yield await decodeLines(block);
        after = block.key;
      }
      if (signal.aborted) return;
      if (entries.length > 0) continue;
      if (!follow) return;
      await this.#nextBlock(revision, signal);
    }
  }

  /** The chain's value before an entry, the lines from it on to its block's end, and the block's key. */
  async #start(first: number, head: AuditHeadRecord): Promise<{ previous: string; text: string; key: string }> {
    if (first > head.sequence) return { previous: head.hash, text: '', key: layout.auditBlock(first, head.block) };
    const { entries } = await this.#blocks({ reverse: true, limit: 1, after: layout.auditBlock(first + 1, 0) });
    const [block] = entries;
    if (block === undefined) throw notKept(first, head);
    const { previous } = decodeBlockHead(block);
    return { ...skipTo(await decodeLines(block), first, previous), key: block.key };
  }

  #blocks(options: { limit: number; after?: string; reverse?: boolean }): Promise<RangeResult> {
    return this.#store.range({ prefix: layout.auditBlocks, ...options });
  }

  async #nextBlock(revision: number, signal: AbortSignal): Promise<void> {
    try {
      for await (const _ of this.#store.watch({ prefix: layout.auditBlocks, fromRevision: revision + 1, signal })) return;
    } catch (error) {
      // The store's history has forgotten when: whatever came meanwhile is read from the blocks themselves.
      if (!(error instanceof EvercertError && error.code === 'FailedPrecondition')) throw error;
    }
  }
}

/** Within a block every line but the last is an entry, whose hash is the chain's value behind it. */
function skipTo(lines: string, first: number, previous: string): { previous: string; text: string } {
  let before = previous;
  for (let at = 0; at < lines.length; ) {
    const end = lines.indexOf('\n', at);
    const line = parseLine(lines.slice(at, end));
    if (typeof line === 'string' || line.type !== 'entry' || line.sequence > first) break;
    if (line.sequence === first) return { previous: before, text: lines.slice(at) };
    before = line.hash;
    at = end + 1;
  }
  throw new EvercertError('DataLoss', `entry ${first} of the audit log is not where it was sealed: restore the store from a backup`);
}

function readToken(token: string): number | undefined {
  if (token === '') return undefined;
  if (!/^[1-9]\d{0,15}$/.test(token)) throw new EvercertError('InvalidArgument', 'page_token: expected the token of the page before');
  return Number(token);
}

/** Goes on below this entry. */
function tokenOf(sequence: number): string {
  return sequence > 1 ? String(sequence) : '';
}

function nothingYet(): EvercertError {
  return new EvercertError('Unavailable', 'no entry of the audit log was sealed yet: try again in a moment', { retryAfterMs: 1000 });
}

function notKept(first: number, { oldest, sequence }: AuditHeadRecord): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `entry ${first} of the audit log is not here: it has the entries ${oldest} to ${sequence}`,
    {
      metadata: { oldest: String(oldest), newest: String(sequence) },
    },
  );
}
