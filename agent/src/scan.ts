/** The periodic look at everything on disk that does not trust the watcher. */
import type { Clock, Timer } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';

export interface ScanTarget {
  scan(): Promise<void>;
}

export interface ScannerOptions {
  targets: ScanTarget[];
  intervalMs: number;
  clock: Clock;
  logger: Logger;
}

export class Scanner {
  readonly #options: ScannerOptions;
  #current: Promise<void> | undefined;
  #again = false;
  #timer: Timer | undefined;
  #stopped = false;
  #lastDoneMonotonicMs: number;

  constructor(options: ScannerOptions) {
    this.#options = options;
    this.#lastDoneMonotonicMs = options.clock.monotonicMs();
  }

  /** Scans now, and from then on at each interval. */
  start(): void {
    const next = (): void => {
      if (this.#stopped) return;
      this.#timer = this.#options.clock.after(this.#options.intervalMs, next);
      this.request();
    };
    next();
  }

  /** Asks for a scan: at once, or once more after the one that runs. */
  request(): void {
    if (this.#stopped) return;
    if (this.#current !== undefined) this.#again = true;
    else this.#current = this.#run().finally(() => (this.#current = undefined));
  }

  /** Time since a scan was last finished, by the monotonic clock: a loop that hangs shows here. */
  idleMs(): number {
    return this.#options.clock.monotonicMs() - this.#lastDoneMonotonicMs;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#current;
  }

  async #run(): Promise<void> {
    do {
      this.#again = false;
      for (const target of this.#options.targets) await this.#scanOne(target);
      this.#lastDoneMonotonicMs = this.#options.clock.monotonicMs();
    } while (this.#again && !this.#stopped);
  }

  async #scanOne(target: ScanTarget): Promise<void> {
    try {
      await target.scan();
    } catch (caught) {
      const error = toEvercertError(caught);
      this.#options.logger.error('A scan failed; the next one tries again', { code: error.code, error: error.message });
    }
  }
}
