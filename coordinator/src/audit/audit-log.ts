import type { Clock } from '@evercert/shared/clock';
import { faultPoint } from '@evercert/shared/fault-points';
import type { Logger } from '@evercert/shared/logging';
import type { EventRecorder } from '../events/recorder.ts';
import type { KeyProvider } from '../keys/index.ts';
import type { FencedStore, RunningController } from '../leadership/index.ts';
import type { KeyValue, Store } from '../store/index.ts';
import { exportedReason } from './draft.ts';
import { AuditFiles } from './files.ts';
import { comparePositions, positionOf } from './position.ts';
import { AuditReader } from './reader.ts';
import { Sealer, type SealerOptions } from './sealer.ts';
import { CheckpointSigner, type CheckpointSignerOptions } from './signer.ts';

export interface AuditLogOptions {
  store: Store;
  keys: KeyProvider;
  controlCa: CheckpointSignerOptions['controlCa'];
  events: EventRecorder;
  clock: Clock;
  logger: Logger;
  backdateMs: number;
  /** Life of the certificates of the keys that sign it. */
  keyLifetimeMs: number;
  checkpoint: SealerOptions['checkpoint'];
  keep: SealerOptions['keep'];
  /** Absent: it is kept in the store alone. */
  files: { directory: string; maxFileBytes: number; maxFiles: number } | undefined;
}

/** Between looks at whether an entry is sealed, and how long that is waited for. */
const pollMs = 100;
const sealedWithinMs = 5000;

/** The audit log of a coordinator: everybody reads it, the leader seals it. */
export class AuditLog {
  readonly reader: AuditReader;
  readonly #options: AuditLogOptions;
  #sealer: Sealer | undefined;

  constructor(options: AuditLogOptions) {
    this.#options = options;
    this.reader = new AuditReader(options.store);
  }

  /** Whether this coordinator knows that an event is in the log. */
  isSealed(entry: KeyValue): boolean {
    return this.#sealer?.isSealed(entry) === true;
  }

  /** What the leader runs: writes only while this coordinator leads. */
  running(fenced: FencedStore): RunningController {
    const [sealer, files] = [this.#newSealer(fenced), this.#newFiles()];
    return {
      start: () => {
        this.#sealer = sealer;
        sealer.start();
        files?.start();
      },
      stop: async () => {
        await sealer.stop();
        await files?.stop();
      },
    };
  }

  /**
   * Notes that somebody takes a copy, and waits, for a while, until the log is sealed and signed up to there. Returns the last entry that is signed then, for the copy to end with;
   * undefined: it took too long, or could not be signed. Errors: those of `AuditReader.begin`.
   */
  async noteExport(actor: string, from: number): Promise<number | undefined> {
    const { store, events, clock } = this.#options;
    // A log that is about to begin is waited for.
    const before = await this.reader.head();
    if (before) await this.reader.begin(from);
    const message = `exported the audit log from ${from === 0 ? 'its beginning' : `entry ${from}`} on`;
    const event = events.operation({ actor, reason: exportedReason, message });
    const { revision } = await store.transact([], [event]);
    const position = positionOf({ createRevision: revision, key: event.key });
    for (let waitedMs = 0; waitedMs < sealedWithinMs; waitedMs += pollMs) {
      const head = await this.reader.head();
      if (head && !head.relisting && comparePositions(head.position, position) >= 0) {
        return head.checkpointSequence > (before?.sequence ?? 0) ? head.checkpointSequence : undefined;
      }
      await clock.sleep(pollMs);
    }
    return undefined;
  }

  #newSealer(store: FencedStore): Sealer {
    const { checkpoint, keep, clock, logger, keyLifetimeMs: lifetimeMs } = this.#options;
    const signer = new CheckpointSigner({ ...this.#options, store, lifetimeMs });
    return new Sealer({ store, clock, logger, signer, checkpoint, keep, fault: faultPoint });
  }

  #newFiles(): AuditFiles | undefined {
    const { files } = this.#options;
    return files && new AuditFiles({ ...this.#options, ...files, reader: this.reader });
  }
}
