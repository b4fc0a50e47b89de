import type { Logger } from '@evercert/shared/logging';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import type { RestoredRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';

/** Certificates are backdated, and the clocks of two machines are not the same: so far into the time before the backup. */
const slackMs = 60_000;

/** Whether this store was restored from a backup a short while ago, so that what was issued after it is learned from those who have it. */
export class Learning {
  readonly #informer: Informer<RestoredRecord>;
  readonly #nowMs: () => number;

  constructor({ store, logger, nowMs }: { store: Store; logger: Logger; nowMs: () => number }) {
    this.#informer = new Informer(store, layout.restored, logger);
    this.#nowMs = nowMs;
  }

  start(): Promise<void> {
    return this.#informer.start();
  }

  stop(): Promise<void> {
    return this.#informer.stop();
  }

  /** The restore whose time of grace has not ended; undefined: nothing is learned. */
  open(): RestoredRecord | undefined {
    const record = this.#informer.get(layout.restored)?.record;
    return record?.learnUntilMs !== undefined && record.learnUntilMs > this.#nowMs() ? record : undefined;
  }

  /** Whether what was issued then came after the backup and before its restore, and is learned now. */
  covers(issuedAtMs: number): boolean {
    const record = this.open();
    return record !== undefined && issuedAtMs > record.backupAtMs - slackMs && issuedAtMs <= record.atMs;
  }
}
