import type { WatchEvent } from './types.ts';

/** What a watcher that is behind reads from. */
export interface ChangeLog {
  /** The last committed revision. */
  readonly revision: number;
  /**
   * Changes under the prefix from a revision on, one array for each revision that has any; `next` is where the following read begins.
   * FailedPrecondition: that revision is forgotten.
   */
  read(fromRevision: number, prefix: string): { changes: WatchEvent[][]; next: number };
}

/**
 * One watch. It either reads the log until it has caught up, or is live and takes what is offered into a bounded queue. When the queue is full it drops it
 * and reads the log again from there, so a slow consumer costs no memory; once the log has forgotten its place, reading throws.
 */
export class Watcher {
  readonly prefix: string;
  readonly #log: ChangeLog;
  readonly #queueEvents: number;
  #queue: WatchEvent[][] = [];
  #queued = 0;
  #live: boolean;
  /** While not live: where to read on. While live: nothing older is taken. */
  #next: number;
  #wake: (() => void) | undefined;
  #ended = false;
  error: Error | undefined;
  onEnd: (() => void) | undefined;

  constructor(log: ChangeLog, prefix: string, fromRevision: number, queueEvents: number) {
    this.#log = log;
    this.prefix = prefix;
    this.#next = fromRevision;
    this.#queueEvents = queueEvents;
    this.#live = fromRevision > log.revision;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** True: the log holds more for this watcher. */
  get behind(): boolean {
    return !this.#live;
  }

  offer(events: WatchEvent[]): void {
    const revision = events[0]?.revision ?? 0;
    if (!this.#live || revision < this.#next) return;
    this.#queue.push(events);
    this.#queued += events.length;
    if (this.#queued > this.#queueEvents && this.#queue.length > 1) this.#fallBehind();
    this.#wake?.();
  }

  /** The next changes, if any are here; reads one page of the log when behind. FailedPrecondition: the log has forgotten them. */
  take(): WatchEvent[] | undefined {
    if (this.#queue.length === 0 && !this.#live) {
      const { changes, next } = this.#log.read(this.#next, this.prefix);
      this.#next = next;
      this.#live = next > this.#log.revision;
      this.#queue = changes;
      this.#queued = changes.reduce((sum, events) => sum + events.length, 0);
    }
    const first = this.#queue.shift();
    this.#queued -= first?.length ?? 0;
    return first;
  }

  /** Resolves when there is something to take, or the watch has ended. */
  changed(): Promise<void> {
    if (this.#ended || this.#queue.length > 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Idempotent. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.error = error;
    this.#queue = [];
    this.onEnd?.();
    this.#wake?.();
  }

  #fallBehind(): void {
    this.#next = this.#queue[0]?.[0]?.revision ?? this.#next;
    this.#queue = [];
    this.#queued = 0;
    this.#live = false;
  }
}
