import { readFile } from 'node:fs/promises';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError, writeFileDurable } from '@evercert/shared/files';
import { z } from 'zod';

const entrySchema = z.strictObject({
  key: z.string(),
  action: z.enum(['create', 'remove']),
  machine: z.string(),
  /** Which of the machines of this name, from 1; 0: there was none when the action began. */
  generation: z.int().min(0),
  state: z.enum(['begun', 'done']),
  /** Of a done action: what was told, and is told again. */
  message: z.string(),
});

/** An action under its idempotency key. */
export type JournalEntry = z.infer<typeof entrySchema>;

const fileSchema = z.strictObject({ version: z.literal(1), entries: z.array(entrySchema) });

/** Far more than any caller repeats; the oldest done ones are forgotten first. */
const maxEntries = 1000;

/** The actions on machines by idempotency key: each is on the disk before it is begun and after it is done. For one writer at a time. */
export class ActionJournal {
  readonly #path: string;
  readonly #entries: Map<string, JournalEntry>;

  private constructor(path: string, entries: readonly JournalEntry[]) {
    this.#path = path;
    this.#entries = new Map(entries.map((entry) => [entry.key, entry]));
  }

  /** Reads what an earlier process left. Errors: DataLoss (it is no journal), FileSystem. */
  static async open(path: string): Promise<ActionJournal> {
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return new ActionJournal(path, []);
      throw toFileError(error, 'read', path);
    }
    try {
      return new ActionJournal(path, fileSchema.parse(JSON.parse(text)).entries);
    } catch (error) {
      throw new EvercertError('DataLoss', `${path} is not the journal of machines that it should be: give the local cluster a new folder`, {
        cause: error,
      });
    }
  }

  get(key: string): JournalEntry | undefined {
    return this.#entries.get(key);
  }

  /** The highest generation of any machine so far. */
  get lastGeneration(): number {
    return Math.max(0, ...[...this.#entries.values()].map(({ generation }) => generation));
  }

  /** Durable when it resolves. Errors: DiskFull, FileSystem; the entry is not taken in then. */
  async put(entry: JournalEntry): Promise<void> {
    const entries = [...this.#entries.values()].filter(({ key }) => key !== entry.key);
    const kept = [...entries, entry].slice(-maxEntries);
    await writeFileDurable(this.#path, `${JSON.stringify({ version: 1, entries: kept })}\n`, { mode: 0o600 });
    this.#entries.clear();
    for (const one of kept) this.#entries.set(one.key, one);
  }
}
