/** Which runs are under way, kept in files: a coordinator that was killed leaves its programs running, and the next one must not begin beside them. */
import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { errnoOf, removeIfThere, sweepTemporaries, writeFileDurable } from '@evercert/shared/files';
import { z } from 'zod';
import { endGroup, processMark } from './groups.ts';

const note = z.strictObject({ pid: z.int().min(2), mark: z.string(), idempotencyKey: z.string() });

export class RunNotes {
  readonly #folder: string;
  readonly #clock: Clock;

  private constructor(folder: string, clock: Clock) {
    this.#folder = folder;
    this.#clock = clock;
  }

  /** Makes the folder where it is missing. Throws what the file system says. */
  static async open(folder: string, clock: Clock): Promise<RunNotes> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await sweepTemporaries(folder);
    return new RunNotes(folder, clock);
  }

  /** Notes that a process works for a replacement; before it is told what to do. */
  async add(replacement: string, pid: number, idempotencyKey: string): Promise<void> {
    const mark = await processMark(pid);
    if (mark === undefined) return;
    await writeFileDurable(this.#path(replacement), JSON.stringify({ pid, mark, idempotencyKey }), { mode: 0o600 });
  }

  async remove(replacement: string): Promise<void> {
    await removeIfThere(this.#path(replacement));
  }

  /** Ends the run that an earlier process of the coordinator has left for this replacement, whichever step it was; returns its key, if there was one. */
  async endEarlier(replacement: string): Promise<string | undefined> {
    const path = this.#path(replacement);
    const earlier = await readNote(path);
    if (earlier === undefined) return undefined;
    const runs = (await processMark(earlier.pid)) === earlier.mark;
    if (runs) await endGroup(earlier.pid, this.#clock);
    await removeIfThere(path);
    return runs ? earlier.idempotencyKey : undefined;
  }

  #path(replacement: string): string {
    return join(this.#folder, `${createHash('sha256').update(replacement).digest('hex').slice(0, 32)}.json`);
  }
}

async function readNote(path: string): Promise<z.infer<typeof note> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return note.parse(JSON.parse(text));
  } catch (error) {
    // It names no process that could be looked for; it is written anew with the next run.
    if (error instanceof SyntaxError || error instanceof z.ZodError) return undefined;
    throw error;
  }
}
