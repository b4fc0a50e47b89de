import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type AuditHeader, formatLine, maxLineLength } from '@evercert/shared/audit';
import { EvercertError } from '@evercert/shared/errors';
import { removeIfThere, syncDirectory, toFileError } from '@evercert/shared/files';
import { type LogPlace, placeBehind, readLine } from './place.ts';

/** `audit-20260801T120000Z-0000000000000001.jsonl`: when it was begun, and its first entry. They sort in the order of their making. */
const namePattern = /^audit-(\d{8}T\d{6}Z)-\d{16}\.jsonl$/;
const fileMode = 0o640;

/** The file that is written to. */
export interface OpenAuditFile {
  file: FileHandle;
  path: string;
  /** `YYYYMMDD`, UTC. */
  day: string;
  bytes: number;
  place: LogPlace;
  /** It has its header alone. */
  empty: boolean;
}

/** The folder of exported files. Errors: DiskFull, FileSystem, FileConflict; DataLoss: a file in it is damaged. */
export class AuditFolder {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Opens the newest file behind its last whole line; what a crash left of another is cut off. Undefined: there is none. */
  async openNewest(): Promise<OpenAuditFile | undefined> {
    for (const name of (await this.#names()).reverse()) {
      const path = join(this.#directory, name);
      const opened = await attempt('read', path, () => openAtEnd(path));
      if (opened) return { ...opened, path, day: dayOf(name) };
      // A crash came before its first line.
      await removeIfThere(path);
    }
    return undefined;
  }

  /** Begins a file. */
  async create(header: AuditHeader, nowMs: number): Promise<OpenAuditFile> {
    const time = new Date(nowMs).toISOString().replace(/[-:]|\.\d+/g, '');
    const name = `audit-${time}-${String(header.sequence).padStart(16, '0')}.jsonl`;
    const path = join(this.#directory, name);
    const file = await attempt('make', path, () =>
      open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, fileMode),
    );
    const opened: OpenAuditFile = { file, path, day: dayOf(name), bytes: 0, place: placeBehind(header.log, header), empty: true };
    try {
      // The process's umask does not count.
      await attempt('set the mode of', path, () => file.chmod(fileMode));
      await append(opened, formatLine(header), opened.place);
      opened.empty = true;
      await syncDirectory(this.#directory);
    } catch (error) {
      await file.close();
      throw error;
    }
    return opened;
  }

  /** Removes the oldest beyond so many. Returns the names that went. */
  async prune(maxFiles: number): Promise<string[]> {
    const doomed = (await this.#names()).slice(0, -maxFiles);
    for (const name of doomed) await removeIfThere(join(this.#directory, name));
    if (doomed.length > 0) await syncDirectory(this.#directory);
    return doomed;
  }

  async #names(): Promise<string[]> {
    const directory = this.#directory;
    return await attempt('list', directory, async () => {
      await mkdir(directory, { recursive: true, mode: 0o750 });
      return (await readdir(directory)).filter((name) => namePattern.test(name)).sort();
    });
  }
}

/** Durable when it resolves. After a failure the file's end is not known: it is opened again. */
export async function append(opened: OpenAuditFile, text: string, place: LogPlace): Promise<void> {
  await attempt('write', opened.path, async () => {
    await opened.file.writeFile(text);
    await opened.file.datasync();
  });
  opened.bytes += Buffer.byteLength(text);
  opened.place = place;
  opened.empty = false;
}

function dayOf(name: string): string {
  return namePattern.exec(name)?.[1]?.slice(0, 8) ?? '';
}

/** The header gives the log's id, the last whole line the place. */
async function openAtEnd(path: string): Promise<Pick<OpenAuditFile, 'file' | 'bytes' | 'place' | 'empty'> | undefined> {
  const file = await open(path, constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    const begin = Math.max(0, size - 2 * maxLineLength);
    const tail = await readAt(file, begin, size - begin);
    const end = tail.lastIndexOf(0x0a);
    if (end < 0) {
      await file.close();
      if (begin === 0) return undefined;
      throw new EvercertError('DataLoss', `${path} is no audit log: move it away`);
    }
    if (begin + end + 1 < size) await file.truncate(begin + end + 1);
    const first = await readAt(file, 0, Math.min(size, 1024));
    const header = readLine(first.toString('utf8', 0, first.indexOf(0x0a)));
    if (header.type !== 'header') throw new EvercertError('DataLoss', `${path} does not begin with a header: move it away`);
    const last = readLine(tail.toString('utf8', tail.lastIndexOf(0x0a, end - 1) + 1, end));
    return { file, bytes: begin + end + 1, place: placeBehind(header.log, last), empty: last.type === 'header' };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(length), position });
  return buffer.subarray(0, bytesRead);
}

async function attempt<T>(action: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw toFileError(error, action, path);
  }
}
