import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, syncDirectory, toFileError, writeFileDurable } from '@evercert/shared/files';
import { z } from 'zod';

const lineSchema = z.object({ key: z.string(), message: z.string() });

/** Far more than a coordinator has under way at once, or repeats after a crash. */
const kept = 4096;

/** Idempotency keys of the actions that were done, with what was told of them: one JSON line each, durable when `add` resolves, the last 4096 at least. */
export class Journal {
  readonly #path: string;
  #done: Map<string, string> | undefined;
  #lines = 0;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** What was told of the action, or undefined: it was not done. */
  async outcome(key: string): Promise<string | undefined> {
    return (await this.#read()).get(key);
  }

  async add(key: string, message: string): Promise<void> {
    const writing = this.#writing.then(() => this.#write(key, message));
    this.#writing = writing.catch(() => undefined);
    await writing;
  }

  async #write(key: string, message: string): Promise<void> {
    const done = await this.#read();
    done.set(key, message);
    for (const oldest of done.keys()) {
      if (done.size <= kept) break;
      done.delete(oldest);
    }
    if (this.#lines >= 2 * kept) {
      await writeFileDurable(this.#path, [...done].map(line).join(''), { mode: 0o600 });
      this.#lines = done.size;
    } else await this.#append(line([key, message]));
  }

  async #append(text: string): Promise<void> {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
    try {
      await using file = await open(this.#path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
      // Begins a line of its own, whatever a power cut has left of the one before.
      await file.writeFile(`\n${text}`);
      await file.sync();
    } catch (error) {
      throw toFileError(error, 'write', this.#path);
    }
    if (this.#lines === 0) await syncDirectory(dirname(this.#path));
    this.#lines += 1;
  }

  async #read(): Promise<Map<string, string>> {
    if (this.#done !== undefined) return this.#done;
    const done = new Map<string, string>();
    for (const text of (await this.#text()).split('\n')) {
      const parsed = lineSchema.safeParse(parse(text));
      if (parsed.success) done.set(parsed.data.key, parsed.data.message);
    }
    this.#lines = done.size;
    this.#done = done;
    return done;
  }

  async #text(): Promise<string> {
    try {
      return await readFile(this.#path, 'utf8');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return '';
      throw toFileError(error, 'read', this.#path);
    }
  }
}

function line([key, message]: [string, string]): string {
  return `${JSON.stringify({ key, message })}\n`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Empty, or cut short by a power cut before it was durable: the action is not known to be done.
    return undefined;
  }
}
