import type { WatchCreateRequest, WatchRequest, WatchResponse } from '@evercert/proto/etcd';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { backoffMs } from '@evercert/shared/retry';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { invalid } from '../limits.ts';
import type { WatchEvent, WatchOptions } from '../types.ts';
import { requireLeader } from './call.ts';
import type { Codec } from './codec.ts';
import type { Endpoint } from './endpoint.ts';
import type { Endpoints } from './endpoints.ts';
import { CallFailure, compacted, toCallFailure } from './errors.ts';
import { EtcdWatch } from './watch.ts';

type Stream = ClientDuplexStream<WatchRequest, WatchResponse>;

export interface WatchStreamOptions {
  endpoints: Endpoints;
  codec: Codec;
  clock: Clock;
  logger: Logger;
  random: () => number;
  queueEvents: number;
  /** The last revision that this process has heard of. */
  revision: () => number;
}

const retryBaseMs = 100;
const retryCapMs = 2000;

/** All watches of this process, on one stream to one member. When that breaks, they go on at another, each from the first revision that it has not seen whole. */
export class WatchStream {
  readonly #options: WatchStreamOptions;
  readonly #watches = new Set<EtcdWatch>();
  readonly #byId = new Map<number, EtcdWatch>();
  readonly #closing = new AbortController();
  #stream: Stream | undefined;
  #connecting = false;
  #failures = 0;
  #lastId = 0;

  constructor(options: WatchStreamOptions) {
    this.#options = options;
  }

  watch({ prefix, fromRevision, signal }: WatchOptions): AsyncIterable<WatchEvent[]> {
    if (fromRevision !== undefined && (!Number.isSafeInteger(fromRevision) || fromRevision < 1)) {
      throw invalid(`fromRevision is a whole number from 1, not ${fromRevision}`);
    }
    const watch = new EtcdWatch(prefix, fromRevision ?? this.#options.revision() + 1, this.#options.queueEvents);
    if (signal.aborted) watch.end();
    else this.#add(watch, signal);
    return this.#iterate(watch);
  }

  /** Ends every watch with the error. */
  close(error: Error): void {
    this.#closing.abort();
    for (const watch of [...this.#watches]) watch.end(error);
    this.#stream?.cancel();
  }

  #add(watch: EtcdWatch, signal: AbortSignal): void {
    this.#watches.add(watch);
    const onAbort = (): void => watch.end();
    signal.addEventListener('abort', onAbort, { once: true });
    watch.onEnd = () => {
      signal.removeEventListener('abort', onAbort);
      this.#watches.delete(watch);
      this.#cancel(watch);
    };
    this.#create(watch);
  }

  async *#iterate(watch: EtcdWatch): AsyncGenerator<WatchEvent[], void, void> {
    try {
      for (;;) {
        const changes = watch.take();
        if (changes) {
          yield changes;
          continue;
        }
        if (watch.ended) break;
        if (watch.behind) {
          watch.behind = false;
          this.#create(watch);
        }
        await watch.changed();
      }
      if (watch.error) throw watch.error;
    } finally {
      watch.end();
    }
  }

  /** Asks etcd for the watch, on the stream that there is or on the next one. */
  #create(watch: EtcdWatch): void {
    if (this.#stream === undefined) {
      void this.#connect();
      return;
    }
    this.#lastId += 1;
    watch.id = this.#lastId;
    this.#byId.set(watch.id, watch);
    const { key, rangeEnd } = this.#options.codec.range({ prefix: watch.prefix });
    const value: WatchCreateRequest = { key, rangeEnd, startRevision: watch.next, progressNotify: true, fragment: true, watchId: watch.id };
    this.#stream.write({ requestUnion: { $case: 'createRequest', value } });
  }

  #cancel(watch: EtcdWatch): void {
    if (watch.id === undefined) return;
    this.#byId.delete(watch.id);
    this.#stream?.write({ requestUnion: { $case: 'cancelRequest', value: { watchId: watch.id } } });
    watch.disconnected();
  }

  /** Opens the stream, however long it takes, and puts every watch on it. */
  async #connect(): Promise<void> {
    if (this.#connecting) return;
    this.#connecting = true;
    const { endpoints, clock, random } = this.#options;
    while (!this.#closing.signal.aborted && this.#watches.size > 0 && this.#stream === undefined) {
      try {
        if (this.#failures > 0) {
          await clock.sleep(
            backoffMs({ attempt: this.#failures, draw: random(), baseMs: retryBaseMs, capMs: retryCapMs }),
            this.#closing.signal,
          );
        }
        this.#open(await endpoints.connect());
      } catch (error) {
        this.#failures += 1;
        if (error instanceof CallFailure) endpoints.fail(endpoints.current, error.error);
      }
    }
    this.#connecting = false;
    if (this.#stream === undefined) return;
    for (const watch of this.#watches) if (watch.id === undefined && !watch.behind) this.#create(watch);
  }

  #open(endpoint: Endpoint): void {
    const stream = endpoint.watch.watch(requireLeader());
    this.#stream = stream;
    stream.on('data', (response: WatchResponse) => {
      if (this.#stream === stream) this.#receive(response, endpoint);
    });
    stream.on('error', (error) => this.#broken(stream, endpoint, error));
    stream.on('end', () => this.#broken(stream, endpoint, new Error('the stream ended')));
  }

  #broken(stream: Stream, endpoint: Endpoint, cause: Error): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#byId.clear();
    for (const watch of this.#watches) watch.disconnected();
    stream.cancel();
    if (this.#closing.signal.aborted) return;
    this.#failures += 1;
    const { error } = toCallFailure(cause, endpoint.target, endpoint.tlsError);
    this.#options.endpoints.fail(endpoint, error);
    this.#options.logger.warn('the watches move to another member of etcd', { endpoint: endpoint.target, error: error.message });
    void this.#connect();
  }

  #receive(response: WatchResponse, endpoint: Endpoint): void {
    const { watchId, created, canceled, header, events, fragment } = response;
    const watch = this.#byId.get(watchId);
    if (canceled) {
      this.#canceled(response, watch, endpoint);
      return;
    }
    // A member that serves is no failing one.
    if (created) this.#failures = 0;
    if (watch === undefined || created) return;
    if (events.length === 0) watch.progress(header!.revision);
    else if (
      !watch.receive(
        events.map((event) => this.#options.codec.event(event)),
        fragment,
      )
    )
      this.#cancel(watch);
  }

  #canceled({ compactRevision, cancelReason }: WatchResponse, watch: EtcdWatch | undefined, endpoint: Endpoint): void {
    if (watch === undefined) {
      // The answer to our own cancellation, or to a creation that failed without saying which.
      if (cancelReason !== '' && this.#stream !== undefined) this.#broken(this.#stream, endpoint, new Error(cancelReason));
      return;
    }
    this.#byId.delete(watch.id!);
    watch.disconnected();
    if (compactRevision > 0) {
      watch.end(
        new EvercertError(
          'FailedPrecondition',
          compacted(`changes from revision ${watch.next} on, etcd remembers from ${compactRevision}`),
          {
            metadata: { fromRevision: String(watch.next), compactedRevision: String(compactRevision) },
          },
        ),
      );
    } else if (cancelReason.includes('permission denied')) {
      watch.end(new EvercertError('PermissionDenied', `etcd does not allow to watch ${watch.prefix} (${cancelReason}): see docs/store.md`));
    } else if (this.#stream !== undefined) {
      this.#broken(this.#stream, endpoint, new Error(cancelReason || 'etcd ended the watch'));
    }
  }
}
