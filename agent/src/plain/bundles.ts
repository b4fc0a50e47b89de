/** Keeps the trust bundles: CA certificates in files that components read. */
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { certificatesToPem, parseCertificate } from '@evercert/shared/x509';
import type { DesiredBundle } from '../desired/types.ts';
import { type EventSink, mendedEvent } from '../events.ts';
import type { PlainFileSpec, PlainFiles } from '../files/types.ts';
import { KeyedLock } from '../state/keyed-lock.ts';
import type { FileLedger } from './ledger.ts';

export interface BundleSnapshot {
  name: string;
  issuer: string;
  /** Of what is in the file, 0 while nothing is. */
  version: number;
  /** "Ready", "Pending" or "Failed". */
  state: string;
  lastError: string;
}

export interface BundleKeeperOptions {
  files: PlainFiles;
  ledger: FileLedger;
  events: EventSink;
  logger: Logger;
  /** Makes a component read its files again; reports its own failures. */
  reload: (name: string, spec: ReloadSpec) => void;
  onChange: () => void;
}

interface Held {
  desired: DesiredBundle;
  /** What the file is to hold: the newest content that could be accepted, which need not be the declared one. */
  accepted?: { file: PlainFileSpec; version: number };
  /** Of what was written. */
  version: number;
  error?: EvercertError;
}

export class BundleKeeper {
  readonly #options: BundleKeeperOptions;
  readonly #held = new Map<string, Held>();
  readonly #lock = new KeyedLock();

  constructor(options: BundleKeeperOptions) {
    this.#options = options;
  }

  /** Writes what has changed. Never throws: what fails is in the snapshots, and the next scan tries again. `keep` names bundles that stay as they are. */
  async apply(bundles: DesiredBundle[], keep: string[] = []): Promise<void> {
    for (const bundle of bundles) await this.#lock.run(bundle.name, () => this.#take(bundle));
    const declared = new Map(bundles.map(({ name, file }) => [name, [file.path]]));
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

  snapshots(): BundleSnapshot[] {
    return [...this.#held.values()].map(({ desired: { name, issuer }, version, error }) => ({
      name,
      issuer,
      version,
      state: error ? 'Failed' : version > 0 ? 'Ready' : 'Pending',
      lastError: error?.message ?? '',
    }));
  }

  /** Declared paths, for the watcher. */
  paths(): string[] {
    return [...this.#held.values()].map(({ desired }) => desired.file.path);
  }

  async #scanOne(held: Held): Promise<void> {
    const { accepted, desired } = held;
    if (!accepted) return;
    await this.#attempt(held, async () => {
      const faults = await this.#options.files.inspect(accepted.file);
      if (faults.length === 0 || !(await this.#write(held, accepted))) return;
      for (const fault of faults) this.#options.events.record(mendedEvent(fault, desired.name));
    });
  }

  async #take(desired: DesiredBundle): Promise<void> {
    const held: Held = this.#held.get(desired.name) ?? { desired, version: 0 };
    this.#held.set(desired.name, held);
    held.desired = desired;
    await this.#attempt(held, async () => {
      held.accepted = { file: plainFile(desired), version: desired.version };
      const wrote = await this.#write(held, held.accepted);
      if (!wrote) return;
      this.#options.logger.info('A trust bundle was written', { bundle: desired.name, version: desired.version, path: desired.file.path });
      if (desired.reload) this.#options.reload(desired.name, desired.reload);
    });
  }

  async #write(held: Held, { file, version }: NonNullable<Held['accepted']>): Promise<boolean> {
    await this.#options.ledger.note(held.desired.name, [file.path]);
    const wrote = await this.#options.files.write([file]);
    held.version = version;
    return wrote;
  }

  /** Notes what fails, with one event while it stays the same. A success clears that only once the declared version is in the file. */
  async #attempt(held: Held, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      if (held.version === held.desired.version) delete held.error;
    } catch (caught) {
      const error = toEvercertError(caught);
      if (held.error?.message !== error.message) {
        const { name } = held.desired;
        this.#options.events.record({
          reason: 'BundleFailed',
          type: 'Warning',
          certificate: name,
          errorCode: error.code,
          message: `trust bundle ${name}: ${error.message}`,
        });
      }
      held.error = error;
    }
  }

  async #sweep(declared: Map<string, string[]>): Promise<void> {
    try {
      for (const name of await this.#options.ledger.sweep(declared))
        this.#options.logger.info('A trust bundle is no longer declared; its file was removed', { bundle: name });
    } catch (caught) {
      const error = toEvercertError(caught);
      this.#options.logger.error('A trust bundle that is no longer declared could not be removed', {
        code: error.code,
        error: error.message,
      });
    }
  }
}

/** An empty bundle, or one that holds anything but certificates, would cut every component off: what is there stays. */
function plainFile({ name, certificates, file }: DesiredBundle): PlainFileSpec {
  if (certificates.length === 0) {
    throw new EvercertError(
      'InvalidCertificate',
      `the coordinator sent trust bundle ${name} without a certificate; the present file is kept`,
    );
  }
  for (const der of certificates) parseCertificate(der);
  return { ...file, content: Buffer.from(certificatesToPem(certificates)) };
}
