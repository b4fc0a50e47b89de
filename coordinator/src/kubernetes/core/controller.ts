import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { backoffMs } from '@evercert/shared/retry';
import type { KubernetesApi } from './client.ts';
import { isGone, unlessMissing } from './errors.ts';
import { isOlder, type KubernetesObject, keyOf, objectPath, type WatchEvent } from './objects.ts';
import type { BridgeStatus } from './status.ts';
import { WorkQueue, type WorkResult } from './work-queue.ts';

export interface ControllerOptions<T extends KubernetesObject> {
  /** For the log and the bridge's status: `signers`. */
  name: string;
  api: KubernetesApi;
  /** A collection: `/apis/certificates.k8s.io/v1/certificatesigningrequests`. */
  path: string;
  /** Selectors. */
  query?: Record<string, string>;
  /**
   * Brings the world into line with one object, or with its absence. Called after each change, after each complete reading and again while it throws; never twice at once for one key. The
   * object may be a moment old: what is written back is guarded by its resourceVersion, and where the server answers with a Conflict, the object is read and tried again.
   */
  reconcile: (key: string, object: T | undefined) => Promise<WorkResult>;
  status: BridgeStatus;
  clock: Clock;
  logger: Logger;
  /** In [0, 1). */
  random: () => number;
  /** Objects at work at once; 4 by default. */
  concurrency?: number;
  /** Everything is read again after so long, whatever the watch has told; 10 min by default. */
  resyncMs?: number;
  /** Longest wait before jitter between two tries to read or to watch, and for one key; 30 s by default. */
  maxBackoffMs?: number;
}

/** A watch lives so long, plus up to as much again: so that a connection that died in silence is noticed soon. */
const watchSeconds = 60;
/** A watch that ends sooner, and brought nothing, counts as a failure. */
const shortMs = 1000;

/**
 * Follows a collection: reads it once, watches from there on, takes a broken watch up again where it was, and reads everything anew where the server no longer knows what came between (HTTP 410) or
 * says something that cannot be understood. It never gives up, and never waits without a limit.
 */
export class Controller<T extends KubernetesObject> {
  readonly #options: ControllerOptions<T>;
  readonly #objects = new Map<string, T>();
  readonly #queue: WorkQueue;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #synced = false;
  /** A watch is open, and tells what changes. */
  #following = false;
  #failures = 0;

  constructor(options: ControllerOptions<T>) {
    const { clock, random, status, name, logger, concurrency = 4, maxBackoffMs = 30_000 } = options;
    this.#options = options;
    this.#queue = new WorkQueue({
      work: (key) => this.#work(key),
      concurrency,
      clock,
      random,
      capMs: maxBackoffMs,
      onSuccess: () => {
        if (this.#following) this.#well();
      },
      onFailure: (key, error, attempt, delayMs) => {
        logger.warn('will be tried again', { controller: name, object: key, attempt, delayMs, code: error.code, error: error.message });
        // A conflict is the daily bread of controllers.
        if (attempt > 1 || error.code !== 'Conflict') status.failing(name, error);
      },
    });
  }

  start(): void {
    this.#running ??= this.#follow();
  }

  /** Resolves when nothing is at work any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#queue.stop();
  }

  /** Whether everything has been read once: before, what is not known may exist all the same. */
  get synced(): boolean {
    return this.#synced;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  /** Has an object worked on for a reason that lies outside the API server. */
  enqueue(key: string): void {
    this.#queue.add(key);
  }

  /** The same for all that are known. */
  enqueueAll(): void {
    for (const key of this.#objects.keys()) this.#queue.add(key);
  }

  async #follow(): Promise<void> {
    const { clock, resyncMs = 600_000 } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const version = await this.#attempt(() => this.#read());
      if (version === undefined) continue;
      const again = clock.monotonicMs() + resyncMs;
      let from: string | undefined = version;
      while (from !== undefined && !signal.aborted && clock.monotonicMs() < again) from = await this.#watch(from);
    }
  }

  /** Undefined after a failure, and the wait that follows it. */
  async #attempt<R>(work: () => Promise<R>): Promise<R | undefined> {
    try {
      return await work();
    } catch (error) {
      await this.#failed(toEvercertError(error));
      return undefined;
    }
  }

  async #read(): Promise<string> {
    const { api, path, query } = this.#options;
    const { items, resourceVersion } = await api.snapshot<T>(path, query);
    const present = new Set(items.map(keyOf));
    for (const key of this.#objects.keys()) if (!present.has(key)) this.#forget(key);
    for (const item of items) this.#accept(item);
    this.#synced = true;
    return resourceVersion;
  }

  /** Where the next watch goes on; undefined: everything is to be read again. */
  async #watch(from: string): Promise<string | undefined> {
    const { api, path, query, random, clock } = this.#options;
    const began = clock.monotonicMs();
    const timeoutSeconds = Math.round(watchSeconds * (1 + random()));
    let version = from;
    try {
      const request = { path, ...(query && { query }), resourceVersion: from, timeoutSeconds, signal: this.#stop.signal };
      for await (const event of api.watch<T>({ ...request, begun: () => this.#begun() })) {
        version = this.#apply(event) ?? version;
        this.#failures = 0;
      }
      if (version === from && clock.monotonicMs() - began < shortMs)
        throw new EvercertError('Unavailable', `the watch on ${path} ended at once`);
      this.#failures = 0;
      return version;
    } catch (caught) {
      const error = toEvercertError(caught);
      if (isGone(error)) {
        this.#options.logger.info('the watch is too old; reading everything again', { controller: this.#options.name });
        // Not at once: a server that says so every time would be read without a pause.
        await clock.sleep(100 + random() * 900, this.#stop.signal).catch(() => undefined);
        return undefined;
      }
      await this.#failed(error);
      // A connection that broke is taken up again; whatever the server refused is not asked for once more.
      return error.code === 'Unavailable' || error.code === 'DeadlineExceeded' ? this.#resumable(error, version) : undefined;
    }
  }

  /** An answer with a status is the server's own word: the version may be what it does not like. */
  #resumable({ metadata }: EvercertError, version: string): string | undefined {
    return metadata['httpStatus'] === undefined ? version : undefined;
  }

  async #work(key: string): Promise<WorkResult> {
    try {
      return await this.#options.reconcile(key, this.#objects.get(key));
    } catch (error) {
      if (isConflict(error)) await this.#readAgain(key);
      throw error;
    }
  }

  /** The watch may bring the change that was in the way late, or never. Whatever this fails with, the work is tried again. */
  async #readAgain(key: string): Promise<void> {
    const { api, path, logger, name } = this.#options;
    try {
      const object = await unlessMissing(api.send<T>({ method: 'GET', path: objectPath(path, key) }));
      const known = this.#objects.get(key);
      if (object === undefined) this.#objects.delete(key);
      else if (known === undefined || !isOlder(object, known)) this.#objects.set(key, object);
    } catch (error) {
      logger.debug('cannot read an object again', { controller: name, object: key, error: toEvercertError(error).message });
    }
  }

  /** What is older than what is known already changes nothing: a server behind a balancer may tell it once more. */
  #apply({ type, object }: WatchEvent<T>): string | undefined {
    const { resourceVersion } = object.metadata;
    if (type === 'BOOKMARK') return resourceVersion === '' ? undefined : resourceVersion;
    const known = this.#objects.get(keyOf(object));
    if (known !== undefined && isOlder(object, known)) return undefined;
    if (type === 'DELETED') this.#forget(keyOf(object));
    else this.#accept(object);
    return resourceVersion === '' ? undefined : resourceVersion;
  }

  #accept(object: T): void {
    const key = keyOf(object);
    this.#objects.set(key, object);
    this.#queue.add(key);
  }

  #forget(key: string): void {
    this.#objects.delete(key);
    this.#queue.add(key);
  }

  #begun(): void {
    this.#following = true;
    this.#well();
  }

  #well(): void {
    if (this.#queue.failing === 0) this.#options.status.well(this.#options.name);
  }

  async #failed(error: EvercertError): Promise<void> {
    const { status, name, logger, clock, random, maxBackoffMs = 30_000 } = this.#options;
    if (this.#stop.signal.aborted) return;
    this.#failures += 1;
    this.#following = false;
    status.failing(name, error);
    const hint = error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs };
    const delayMs = Math.max(100, backoffMs({ attempt: this.#failures, draw: random(), baseMs: 1000, capMs: maxBackoffMs, ...hint }));
    logger.warn('cannot follow the API server', {
      controller: name,
      attempt: this.#failures,
      delayMs,
      code: error.code,
      error: error.message,
    });
    await clock.sleep(delayMs, this.#stop.signal).catch(() => undefined);
  }
}

/** In the API server's words; the coordinator's store has conflicts of its own. */
function isConflict(error: unknown): boolean {
  return error instanceof EvercertError && error.metadata['httpStatus'] === '409';
}
