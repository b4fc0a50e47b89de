/** Keeps files whose content the coordinator sends: writes what changed, and puts right what was damaged. */
import { type EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { FileSpec, ReloadSpec } from '@evercert/shared/manifest';
import { type EventSink, mendedEvent } from '../events.ts';
import type { PlainFileSpec, PlainFiles } from '../files/types.ts';
import { KeyedLock } from '../state/keyed-lock.ts';
import { asInPlace } from './in-place.ts';
import type { FileLedger } from './ledger.ts';

/** One file that is declared. */
export interface KeptFile {
  name: string;
  issuer: string;
  file: FileSpec;
  reload?: ReloadSpec;
}

/** What is particular to a kind of file. */
export interface FileKind<Desired extends KeptFile> {
  /** As `trust bundle`. */
  noun: string;
  /** Reason of the event when one cannot be put into effect. */
  failed: string;
  /** Grows with each change of the content; above 0. */
  version(desired: Desired): number;
  /** Judges what was sent and makes a file of it; what it throws keeps the present file in place. */
  content(desired: Desired): PlainFileSpec | Promise<PlainFileSpec>;
  /** Whether a file that was there before says the same in another form; absent: never. */
  sameMeaning?: (declared: Buffer, found: Buffer) => boolean;
  /** Called before a new content is written, and after it was, in place of `reload`. */
  writing?(desired: Desired): Promise<void>;
  written?(desired: Desired): void;
}

export interface FileKeeperOptions {
  files: PlainFiles;
  ledger: FileLedger;
  events: EventSink;
  logger: Logger;
  /** Makes a component read its files again; reports its own failures. */
  reload: (name: string, spec: ReloadSpec) => void;
  onChange: () => void;
}

export interface FileSnapshot {
  name: string;
  issuer: string;
  /** Of what is in the file, 0 while nothing is. */
  version: number;
  /** "Ready", "Pending" or "Failed". */
  state: string;
  lastError: string;
}

interface Held<Desired> {
  desired: Desired;
  /** What the file is to hold: the newest content that could be accepted, which need not be the declared one. */
  accepted?: { file: PlainFileSpec; version: number };
  /** Of what was written. */
  version: number;
  error?: EvercertError;
}

export class FileKeeper<Desired extends KeptFile> {
  readonly #kind: FileKind<Desired>;
  readonly #options: FileKeeperOptions;
  readonly #held = new Map<string, Held<Desired>>();
  readonly #lock = new KeyedLock();

  constructor(kind: FileKind<Desired>, options: FileKeeperOptions) {
    this.#kind = kind;
    this.#options = options;
  }

  /** Writes what has changed. Never throws: what fails is in the snapshots, and the next scan tries again. `keep` names files that stay as they are. */
  async apply(all: Desired[], keep: string[] = []): Promise<void> {
    for (const desired of all) await this.#lock.run(desired.name, () => this.#take(desired));
    const declared = new Map(all.map(({ name, file }) => [name, [file.path]]));
    for (const name of keep) {
      const path = this.#held.get(name)?.desired.file.path;
      declared.set(name, path === undefined ? [] : [path]);
    }
    for (const name of this.#held.keys()) if (!declared.has(name)) this.#held.delete(name);
    if (keep.length === 0) await this.#sweep(declared);
    this.#options.onChange();
  }

  /** Puts damaged files right, with an event each, and writes what could not be written before. */
  async scan(): Promise<void> {
    for (const held of this.#held.values()) await this.#lock.run(held.desired.name, () => this.#scanOne(held));
  }

  states(): FileSnapshot[] {
    return [...this.#held.values()].map(({ desired: { name, issuer }, version, error }) => ({
      name,
      issuer,
      version,
      state: error ? 'Failed' : version > 0 ? 'Ready' : 'Pending',
      lastError: error?.message ?? '',
    }));
  }

  /** What is declared and in its file. */
  protected inPlace(): Desired[] {
    return [...this.#held.values()].filter(({ desired, version }) => version === this.#kind.version(desired)).map(({ desired }) => desired);
  }

  /** Declared paths, for the watcher. */
  paths(): string[] {
    return [...this.#held.values()].map(({ desired }) => desired.file.path);
  }

  async #scanOne(held: Held<Desired>): Promise<void> {
    const { accepted, desired } = held;
    if (!accepted) return;
    await this.#attempt(held, async () => {
      const faults = await this.#options.files.inspect(accepted.file);
      const late = held.version !== accepted.version;
      if (faults.length > 0 && late) await this.#kind.writing?.(desired);
      if (faults.length === 0 || !(await this.#write(held, accepted))) return;
      if (late) this.#written(desired);
      for (const fault of faults) this.#options.events.record(mendedEvent(fault, desired.name));
    });
  }

  async #take(desired: Desired): Promise<void> {
    const held: Held<Desired> = this.#held.get(desired.name) ?? { desired, version: 0 };
    this.#held.set(desired.name, held);
    held.desired = desired;
    await this.#attempt(held, async () => {
      const { name, file } = desired;
      held.accepted = { file: await this.#asInPlace(name, await this.#kind.content(desired)), version: this.#kind.version(desired) };
      if (this.#kind.writing && (await this.#options.files.inspect(held.accepted.file)).length > 0) await this.#kind.writing(desired);
      const wrote = await this.#write(held, held.accepted);
      if (!wrote) return;
      this.#options.logger.info(`A ${this.#kind.noun} was written`, { name, version: held.version, path: file.path });
      this.#written(desired);
    });
  }

  #written(desired: Desired): void {
    if (this.#kind.written) this.#kind.written(desired);
    else if (desired.reload) this.#options.reload(desired.name, desired.reload);
  }

  async #asInPlace(name: string, file: PlainFileSpec): Promise<PlainFileSpec> {
    const { files, ledger } = this.#options;
    const { sameMeaning } = this.#kind;
    return sameMeaning ? asInPlace(file, { files, ledger, name, sameMeaning }) : file;
  }

  async #write(held: Held<Desired>, { file, version }: NonNullable<Held<Desired>['accepted']>): Promise<boolean> {
    await this.#options.ledger.note(held.desired.name, [file.path]);
    const wrote = await this.#options.files.write([file]);
    held.version = version;
    return wrote;
  }

  /** Notes what fails, with one event while it stays the same. A success clears that only once the declared version is in the file. */
  async #attempt(held: Held<Desired>, work: () => Promise<void>): Promise<void> {
    const before = held.error?.message;
    await this.#try(held, work);
    if (held.error?.message !== before) this.#options.onChange();
  }

  async #try(held: Held<Desired>, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      if (held.version === this.#kind.version(held.desired)) delete held.error;
    } catch (caught) {
      const error = toEvercertError(caught);
      if (held.error?.message !== error.message) {
        const { name } = held.desired;
        this.#options.events.record({
          reason: this.#kind.failed,
          type: 'Warning',
          certificate: name,
          errorCode: error.code,
          message: `${this.#kind.noun} ${name}: ${error.message}`,
        });
      }
      held.error = error;
    }
  }

  async #sweep(declared: Map<string, string[]>): Promise<void> {
    const { noun } = this.#kind;
    try {
      for (const name of await this.#options.ledger.sweep(declared))
        this.#options.logger.info(`A ${noun} is no longer declared; its file was removed`, { name });
    } catch (caught) {
      const error = toEvercertError(caught);
      this.#options.logger.error(`A ${noun} that is no longer declared could not be removed`, { code: error.code, error: error.message });
    }
  }
}
