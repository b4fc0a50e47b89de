import { randomBytes } from 'node:crypto';
import type { RangeResponse, ResponseHeader, TxnRequest } from '@evercert/proto/etcd';
import { RangeRequest } from '@evercert/proto/etcd';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { createFileCredentials, type PairFiles } from '@evercert/shared/grpc';
import type { Logger } from '@evercert/shared/logging';
import { layout } from '../../state/layout.ts';
import { checkPrefix, checkTransaction, checkTtl, invalid } from '../limits.ts';
import type {
  Compare,
  KeyValue,
  Operation,
  RangeOptions,
  RangeResult,
  SnapshotPage,
  Store,
  TransactionResult,
  WatchEvent,
  WatchOptions,
} from '../types.ts';
import { call, exchange, requireLeader } from './call.ts';
import { Codec, leaseName, leaseNumber, newLease } from './codec.ts';
import { Endpoint, type TlsTrouble } from './endpoint.ts';
import { type CallKind, Endpoints } from './endpoints.ts';
import { CallFailure } from './errors.ts';
import { Ranges } from './ranges.ts';
import { WatchStream } from './watch-stream.ts';

export interface EtcdStoreOptions {
  /** `HOST:PORT` of each member; where one fails, the next is used. */
  endpoints: readonly string[];
  /** PEM; read again for each new connection. */
  files: PairFiles;
  clock: Clock;
  logger: Logger;
  /** In front of every key; default: none. It ends with a slash, or a store under `/a` would see that under `/ab`. */
  keyPrefix?: string;
  /** Longest wait for a connection, in milliseconds (default 2000). */
  dialTimeoutMs?: number;
  /** Longest wait for one answer of one member, in milliseconds (default 5000); a call as a whole takes at most about twice as long. */
  requestTimeoutMs?: number;
  /** Events that wait in memory for one watcher (default 4096). */
  watchQueueEvents?: number;
  /** Calls under way, beyond which they are refused as Overloaded (default 10,000). */
  maxPending?: number;
  /** In [0, 1); for the first endpoint and for waits. */
  random?: () => number;
  /** For lease ids. */
  randomBytes?: (size: number) => Buffer;
}

export interface EtcdStore extends Store {
  /** What only etcd has: members, alarms, sizes. */
  readonly endpoints: Endpoints;
  /** etcd's revision of now. */
  latestRevision(): Promise<number>;
  /** Forgets all that was overwritten before a revision; watches and snapshots that need it fail. What was forgotten already stays so. */
  compact(revision: number): Promise<void>;
  /** Called when the store closes. */
  onClose(callback: () => void): void;
}

const overloadRetryMs = 500;

/**
 * Opens the store in an etcd cluster, and checks that it can be read. InvalidCertificate, FileSystem: the files cannot be used. StoreFailure: no member can be reached; PermissionDenied,
 * DataLoss: etcd says so.
 */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<EtcdStore> {
  const endpoints: Endpoint[] = [];
  for (const target of options.endpoints) endpoints.push(await openEndpoint(target, options));
  const { clock, logger, random = Math.random, dialTimeoutMs = 2000, requestTimeoutMs = 5000 } = options;
  const store = new RealEtcdStore(new Endpoints({ endpoints, clock, logger, random, dialTimeoutMs, requestTimeoutMs }), options);
  try {
    await store.latestRevision();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openEndpoint(target: string, { files, clock, logger }: EtcdStoreOptions): Promise<Endpoint> {
  const tls: TlsTrouble = {};
  const credentials = await createFileCredentials({
    files,
    clock,
    onUnusable: (error) => {
      logger.error("the store's client certificate cannot be used; the one of before is used on", {
        code: error.code,
        error: error.message,
      });
    },
    onTlsError: (error) => {
      tls.error = error.message;
    },
  });
  return new Endpoint(target, credentials, tls);
}

/** True: what only etcd has can be asked of it. */
export function isEtcdStore(store: Store): store is EtcdStore {
  return store instanceof RealEtcdStore;
}

class RealEtcdStore implements EtcdStore {
  readonly shared = true;
  readonly endpoints: Endpoints;
  readonly #codec: Codec;
  readonly #ranges: Ranges;
  readonly #watches: WatchStream;
  readonly #maxPending: number;
  readonly #randomBytes: (size: number) => Buffer;
  readonly #onClose: (() => void)[] = [];
  readonly #underWay = new Set<Promise<unknown>>();
  #revision = 0;
  #closing: Promise<void> | undefined;

  constructor(endpoints: Endpoints, options: EtcdStoreOptions) {
    this.endpoints = endpoints;
    this.#codec = new Codec(options.keyPrefix ?? '');
    this.#ranges = new Ranges(this.#codec, (request) => this.#sendRange(request));
    this.#watches = new WatchStream({
      endpoints,
      codec: this.#codec,
      clock: options.clock,
      logger: options.logger,
      random: options.random ?? Math.random,
      queueEvents: options.watchQueueEvents ?? 4096,
      revision: () => this.#revision,
    });
    this.#maxPending = options.maxPending ?? 10_000;
    this.#randomBytes = options.randomBytes ?? randomBytes;
  }

  async latestRevision(): Promise<number> {
    // A client may be allowed to read nothing else.
    return (await this.range({ prefix: layout.root, limit: 1 })).revision;
  }

  onClose(callback: () => void): void {
    this.#onClose.push(callback);
  }

  async get(key: string): Promise<KeyValue | undefined> {
    checkPrefix(key);
    return this.#do(() => this.#ranges.get(key));
  }

  async range(options: RangeOptions): Promise<RangeResult> {
    checkPrefix(options.prefix);
    if (options.after !== undefined) checkPrefix(options.after);
    const limit = options.limit ?? 0;
    if (!Number.isSafeInteger(limit) || limit < 0) throw invalid(`limit is a whole number from 0, not ${limit}`);
    return this.#do(() => this.#ranges.range(options));
  }

  async transact(compares: Compare[], operations: Operation[]): Promise<TransactionResult> {
    checkTransaction(compares, operations);
    const request = this.#codec.transaction(compares, operations);
    return this.#do(async () => {
      faultPoint('store.transaction.before-send');
      const { succeeded, header } = await this.#sendTransaction(request);
      faultPoint('store.transaction.after-answer');
      return { succeeded, revision: header!.revision };
    });
  }

  watch(options: WatchOptions): AsyncIterable<WatchEvent[]> {
    this.#assertOpen();
    checkPrefix(options.prefix);
    return this.#watches.watch(options);
  }

  async *snapshot({ prefix, signal }: { prefix: string; signal: AbortSignal }): AsyncGenerator<SnapshotPage, void, void> {
    this.#assertOpen();
    checkPrefix(prefix);
    const pages = this.#ranges.snapshot(prefix);
    while (!signal.aborted) {
      const { done, value } = await this.#do(() => pages.next());
      if (done || signal.aborted) return;
      if (value.entries.length > 0) yield { entries: value.entries, revision: value.revision };
    }
  }

  async grantLease(ttlSeconds: number): Promise<string> {
    checkTtl(ttlSeconds);
    // Chosen here, so that the request can be repeated when the answer was lost.
    const id = newLease(this.#randomBytes);
    const request = { ttl: Math.ceil(ttlSeconds), id };
    await this.#do(async () => {
      try {
        this.#saw(
          await this.#call({ doing: 'take a lease', repeatable: true }, (endpoint, deadlineMs) =>
            call(endpoint.lease.leaseGrant.bind(endpoint.lease), request, { deadlineMs, metadata: requireLeader() }),
          ),
        );
      } catch (error) {
        if (!(error instanceof CallFailure && error.error.code === 'AlreadyExists')) throw error;
      }
    });
    return leaseName(id);
  }

  async keepLeaseAlive(lease: string): Promise<void> {
    const request = { id: leaseNumber(lease) };
    const { ttl } = await this.#do(() =>
      this.#call({ doing: 'renew a lease', repeatable: true }, (endpoint, deadlineMs) =>
        exchange(endpoint.lease.leaseKeepAlive.bind(endpoint.lease), request, deadlineMs),
      ),
    );
    if (ttl <= 0)
      throw new EvercertError('NotFound', `the lease ${lease} has run out or was revoked; take a new one`, { metadata: { lease } });
  }

  async revokeLease(lease: string): Promise<void> {
    const request = { id: leaseNumber(lease) };
    let sent = 0;
    await this.#do(async () => {
      try {
        this.#saw(
          await this.#call({ doing: 'end a lease', repeatable: true }, (endpoint, deadlineMs) => {
            sent += 1;
            return call(endpoint.lease.leaseRevoke.bind(endpoint.lease), request, { deadlineMs, metadata: requireLeader() });
          }),
        );
      } catch (error) {
        // The answer to an earlier try may have been lost: then it was that one that ended it.
        if (!(sent > 1 && error instanceof CallFailure && error.error.code === 'NotFound')) throw error;
      }
    });
  }

  async compact(revision: number): Promise<void> {
    await this.#do(async () => {
      try {
        this.#saw(
          await this.#call({ doing: 'compact etcd', repeatable: true }, (endpoint, deadlineMs) =>
            call(endpoint.kv.compact.bind(endpoint.kv), { revision, physical: false }, { deadlineMs, metadata: requireLeader() }),
          ),
        );
      } catch (error) {
        if (!(error instanceof CallFailure && error.error.code === 'FailedPrecondition')) throw error;
      }
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const callback of this.#onClose) callback();
    this.#watches.close(closed());
    await Promise.allSettled(this.#underWay);
    this.endpoints.close();
  }

  /** Writes have no second chance: what may have been applied is not sent again. */
  async #sendTransaction(request: TxnRequest) {
    const kind = { doing: 'write to the store', repeatable: false };
    try {
      const response = await this.#call(kind, (endpoint, deadlineMs) =>
        call(endpoint.kv.txn.bind(endpoint.kv), request, { deadlineMs, metadata: requireLeader() }),
      );
      this.#saw(response);
      return response;
    } catch (error) {
      if (error instanceof CallFailure && error.fate === 'full') throw await this.#whenFull(request, error);
      throw error;
    }
  }

  /**
   * The transaction that crosses etcd's quota is applied and answered with "no space" all the same; those after it are refused. What it would have written tells which one this was.
   */
  async #whenFull({ success }: TxnRequest, failure: CallFailure): Promise<EvercertError> {
    const puts = success.flatMap(({ request }) => (request?.$case === 'requestPut' ? [request.value] : []));
    try {
      for (const { key, value } of puts) {
        const { kvs } = await this.#sendRange(RangeRequest.create({ key }));
        if (!kvs[0]?.value.equals(value)) return failure.error;
      }
      if (puts.length === 0) return failure.error;
    } catch {
      // Not even a read: nothing can be said.
    }
    const message = `cannot write to the store; whether it was applied is not known: ${failure.error.message}`;
    return new EvercertError('StoreFailure', message, {
      cause: failure.error,
      metadata: { ...failure.error.metadata, outcome: 'unknown' },
    });
  }

  async #sendRange(request: RangeRequest): Promise<RangeResponse> {
    const response = await this.#call({ doing: 'read the store', repeatable: true }, (endpoint, deadlineMs) =>
      call(endpoint.kv.range.bind(endpoint.kv), request, { deadlineMs, metadata: requireLeader() }),
    );
    if (request.revision === 0) this.#saw(response);
    return response;
  }

  #call<T>(kind: CallKind, work: (endpoint: Endpoint, deadlineMs: number) => Promise<T>): Promise<T> {
    return this.endpoints.run(kind, work);
  }

  #saw({ header }: { header?: ResponseHeader | undefined }): void {
    this.#revision = Math.max(this.#revision, header?.revision ?? 0);
  }

  /** Counts the call in, and turns what it fails of into the store's error. */
  async #do<T>(work: () => Promise<T>): Promise<T> {
    this.#assertOpen();
    if (this.#underWay.size >= this.#maxPending) {
      throw new EvercertError('Overloaded', `${this.#underWay.size} calls wait for the store; try again later`, {
        retryAfterMs: overloadRetryMs,
      });
    }
    const running = work();
    this.#underWay.add(running);
    try {
      return await running;
    } catch (error) {
      throw error instanceof CallFailure ? error.error : error;
    } finally {
      this.#underWay.delete(running);
    }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closed();
  }
}

function closed(): EvercertError {
  return new EvercertError('Unavailable', 'the store is closed');
}
