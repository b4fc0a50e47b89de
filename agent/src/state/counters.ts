/** Counts that outlive the agent, one record for each certificate. */
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import * as z from 'zod';
import type { StateFolder } from './folder.ts';

const countersSchema = z.object({
  issuedTotal: z.number().default(0),
  failures: z.number().default(0),
  lapses: z.number().default(0),
  /** Serial of the certificate whose lapse was counted last, so that none is counted twice. */
  lapsedSerial: z.string().default(''),
  /** Serial of the certificate that the component was last told of: a crash between installation and reload is seen at the next start. */
  activatedSerial: z.string().default(''),
  lastRenewalAtMs: z.number().optional(),
});

const fileSchema = z.object({ version: z.literal(1), certificates: z.record(z.string(), countersSchema) });

export type Counters = z.infer<typeof countersSchema>;

const fileName = 'counters.json';

export class CounterStore {
  readonly #folder: StateFolder;
  readonly #logger: Logger;
  #counters = new Map<string, Counters>();
  #writing: Promise<void> = Promise.resolve();
  #dirty = false;

  constructor({ folder, logger }: { folder: StateFolder; logger: Logger }) {
    this.#folder = folder;
    this.#logger = logger;
  }

  /** Reads what an earlier run counted. A damaged file costs the counts, never the start. */
  async load(): Promise<void> {
    const content = await this.#folder.read(fileName);
    if (content === undefined) return;
    try {
      const { certificates } = fileSchema.parse(JSON.parse(content.toString()));
      this.#counters = new Map(Object.entries(certificates));
    } catch (error) {
      this.#logger.warn('The counters of earlier runs are damaged and begin anew', { error: toEvercertError(error).message });
    }
  }

  get(name: string): Readonly<Counters> {
    return this.#counters.get(name) ?? countersSchema.parse({});
  }

  update(name: string, change: Partial<Counters>): void {
    this.#counters.set(name, { ...this.get(name), ...change });
    this.#save();
  }

  forget(name: string): void {
    if (this.#counters.delete(name)) this.#save();
  }

  /** Resolves when all is on disk. */
  flush(): Promise<void> {
    return this.#writing;
  }

  /** Writes one after the other; what changes meanwhile goes into the next write together. */
  #save(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    this.#writing = this.#writing.then(async () => {
      this.#dirty = false;
      const content = JSON.stringify({ version: 1, certificates: Object.fromEntries(this.#counters) });
      try {
        await this.#folder.write(fileName, content);
      } catch (caught) {
        const error = toEvercertError(caught);
        this.#logger.warn('The counters could not be saved; they are kept in memory', { code: error.code, error: error.message });
      }
    });
  }
}
