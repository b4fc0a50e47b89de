import type { WatchEvent } from '../types.ts';

/**
 * One watch. What etcd sends is gathered here into one array for each revision, in a bounded queue (its bound and one message of etcd).
 * When that is full the watch is given up at etcd, and taken up again once the consumer has emptied the queue: a slow consumer costs no more memory, and finds out
 * (FailedPrecondition) when etcd has forgotten its place.
 */
export class EtcdWatch {
  readonly prefix: string;
  readonly #queueEvents: number;
  /** At etcd, on the present stream; undefined: not there. */
  id: number | undefined;
  /** First revision that has not arrived whole. */
  next: number;
  /** The queue was full: not at etcd until it is empty. */
  behind = false;
  #queue: WatchEvent[][] = [];
  #queued = 0;
  /** Of a revision of which more may come. */
  #partial: WatchEvent[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  error: Error | undefined;
  onEnd: (() => void) | undefined;

  constructor(prefix: string, fromRevision: number, queueEvents: number) {
    this.prefix = prefix;
    this.next = fromRevision;
    this.#queueEvents = queueEvents;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Events as they came, in order of revision. `fragment`: more of the last revision may follow. Returns false when the queue is full: these were not taken. */
  receive(events: readonly WatchEvent[], fragment: boolean): boolean {
    if (this.#queued > this.#queueEvents) {
      this.#partial = [];
      this.behind = true;
      return false;
    }
    for (const event of events) {
      // Nothing is handed out twice, whatever a resumed watch repeats.
      if (event.revision < this.next) continue;
      if (this.#partial[0] !== undefined && this.#partial[0].revision !== event.revision) this.#complete();
      this.#partial.push(event);
    }
    if (!fragment) this.#complete();
    this.#wake?.();
    return true;
  }

  /** Nothing happened under the prefix up to this revision. */
  progress(revision: number): void {
    if (this.#partial.length === 0) this.next = Math.max(this.next, revision + 1);
  }

  /** The stream is gone: what was half received comes again. */
  disconnected(): void {
    this.id = undefined;
    this.#partial = [];
  }

  take(): WatchEvent[] | undefined {
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

  /** Idempotent. What was received before an error is still handed out; after a quiet end nothing is. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.error = error;
    if (error === undefined) this.#queue = [];
    this.onEnd?.();
    this.#wake?.();
  }

  #complete(): void {
    const events = this.#partial;
    if (events[0] === undefined) return;
    this.#partial = [];
    this.next = events[0].revision + 1;
    this.#queue.push(events);
    this.#queued += events.length;
  }
}
