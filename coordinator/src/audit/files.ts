import type { AuditHeader } from '@evercert/shared/audit';
import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { EventRecorder } from '../events/recorder.ts';
import { AuditFolder, append, type OpenAuditFile } from './folder.ts';
import { type LogPlace, lastLine, linesBehind, placeBehind } from './place.ts';
import type { AuditReader } from './reader.ts';

export interface AuditFilesOptions {
  directory: string;
  /** A file that would grow beyond is ended, and one at the end of a day (UTC). Bytes. */
  maxFileBytes: number;
  /** The oldest beyond so many are removed. */
  maxFiles: number;
  reader: AuditReader;
  events: Pick<EventRecorder, 'record'>;
  clock: Clock;
  logger: Logger;
}

const retryMs = 5000;
const earlyMs = 500;

/** Writes the sealed log into files, as far as they do not have it yet. It runs beside the sealer: a full disk holds up nothing but itself, and is caught up with. */
export class AuditFiles {
  readonly #options: AuditFilesOptions;
  readonly #folder: AuditFolder;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #file: OpenAuditFile | undefined;
  /** The store's log is not the one in the newest file. */
  #parted = false;
  #trouble = '';

  constructor(options: AuditFilesOptions) {
    this.#options = options;
    this.#folder = new AuditFolder(options.directory);
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#follow();
      } catch (error) {
        if (signal.aborted) return;
        // Until the first entry is sealed there is nothing to write.
        const early = error instanceof EvercertError && error.code === 'Unavailable';
        if (!early) this.#tellTrouble(error);
        await clock.sleep(early ? earlyMs : retryMs, signal).catch(() => undefined);
      }
    }
  }

  async #follow(): Promise<void> {
    this.#file = await this.#folder.openNewest();
    try {
      const from = this.#file && !this.#parted ? await this.#resumeFrom(this.#file.place) : undefined;
      if (from === undefined) await this.#close();
      await this.#copy(from ?? (await this.#branchStart()), this.#file?.place);
    } catch (error) {
      // What is in the files is of another branch: another row of files is begun.
      if (error instanceof EvercertError && error.code === 'FailedPrecondition') this.#parted = true;
      throw error;
    } finally {
      await this.#close();
    }
  }

  /** The entry from which the store's log is read to go on behind a place; undefined: it does not have that place any more. */
  async #resumeFrom({ log, sequence }: LogPlace): Promise<number | undefined> {
    const head = await this.#options.reader.head();
    if (head === undefined || head.log !== log || sequence > head.sequence || sequence + 1 < head.oldest) return undefined;
    return Math.max(1, sequence, head.oldest);
  }

  /** Where a new row of files begins: with the restore after which the log is another, else with all that is kept. */
  async #branchStart(): Promise<number> {
    const any = { cluster: '', node: '', serial: '', actor: '', reason: 'StoreRestored', sinceMs: undefined, untilMs: undefined };
    const { items } = await this.#options.reader.list(any, { size: 10, token: '' });
    // Others than the log itself may tell of a restore too.
    return items.find(({ event }) => event.details?.['storeBefore'] !== undefined)?.sequence ?? 0;
  }

  /** Appends what comes behind a place, or all from an entry on, until the stop. */
  async #copy(from: number, behind: LogPlace | undefined): Promise<void> {
    const { reader } = this.#options;
    let [waiting, begun] = [behind, false];
    for await (const piece of reader.export({ from, follow: true, signal: this.#stop.signal })) {
      if (!begun) {
        begun = true;
        const header = lastLine(piece);
        const { sequence, value } = placeBehind('', header);
        if (behind === undefined && header.type === 'header') await this.#begin(header);
        else if (sequence === behind?.sequence && value === behind.value) waiting = undefined;
        continue;
      }
      const text = waiting === undefined ? piece : linesBehind(piece, waiting);
      if (text === undefined) continue;
      waiting = undefined;
      if (text !== '') await this.#append(text);
    }
  }

  async #append(text: string): Promise<void> {
    const { clock, maxFileBytes } = this.#options;
    const today = new Date(clock.nowMs()).toISOString().slice(0, 10).replaceAll('-', '');
    const { bytes, day, place, empty } = this.#opened();
    if (!empty && (bytes + Buffer.byteLength(text) > maxFileBytes || day < today)) {
      await this.#begin({ type: 'header', v: 1, log: place.log, sequence: place.sequence + 1, previous: place.value });
    }
    const file = this.#opened();
    await append(file, text, placeBehind(place.log, lastLine(text)));
    this.#tellOver();
  }

  async #begin(header: AuditHeader): Promise<void> {
    const { clock, logger, maxFiles } = this.#options;
    const next = await this.#folder.create(header, clock.nowMs());
    await this.#close();
    this.#file = next;
    this.#parted = false;
    const gone = await this.#folder.prune(maxFiles);
    if (gone.length > 0) logger.info('removed the oldest files of the audit log', { files: gone.length, last: gone.at(-1) });
  }

  #opened(): OpenAuditFile {
    if (this.#file === undefined) throw new Error('no file is open');
    return this.#file;
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.file.close();
  }

  /** Once for each trouble, with an event that the log itself will hold. */
  #tellTrouble(error: unknown): void {
    const { logger, events, directory } = this.#options;
    const message = `the audit log is not written to ${directory} for now, and caught up with later: ${describeError(error)}`;
    if (message === this.#trouble) return;
    this.#trouble = message;
    if (this.#parted) {
      logger.info('the audit log goes on in a new row of files', { error: describeError(error) });
      return;
    }
    const errorCode = error instanceof EvercertError ? error.code : 'Internal';
    events.record({ actor: 'coordinator', reason: 'AuditFilesBehind', warning: true, message, errorCode });
  }

  #tellOver(): void {
    if (this.#trouble === '') return;
    this.#trouble = '';
    const message = `the audit log is written to ${this.#options.directory} again`;
    this.#options.events.record({ actor: 'coordinator', reason: 'AuditFilesCaughtUp', message });
  }
}
