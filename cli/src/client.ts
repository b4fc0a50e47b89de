import type { AdminServiceClient, AdminServiceService, RepairRequest, RepairResponse, WatchRequest, WatchResponse } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { fromServiceError, type UnaryMethod, unary } from '@evercert/shared/grpc';
import type { ClientReadableStream } from '@grpc/grpc-js';
import type { ContextMaterial } from './contexts/index.ts';
import { Reach } from './reach.ts';

type Service = typeof AdminServiceService;
/** Calls that are answered by a stream. */
type StreamName = 'watch' | 'repair' | 'createBackup' | 'exportAudit';
type UnaryName = Exclude<keyof Service, StreamName>;
export type RequestOf<Name extends UnaryName> = Parameters<Service[Name]['requestSerialize']>[0];
export type ResponseOf<Name extends UnaryName> = ReturnType<Service[Name]['responseDeserialize']>;
export type StreamRequestOf<Name extends StreamName> = Parameters<Service[Name]['requestSerialize']>[0];
export type StreamResponseOf<Name extends StreamName> = ReturnType<Service[Name]['responseDeserialize']>;

/** The coordinator's admin service, as the commands use it. */
export interface AdminApi {
  /** HOST:PORT of the coordinator that is spoken to. */
  readonly server: string;
  /** Errors: the server's own code, or Unavailable, DeadlineExceeded and Cancelled from the transport. */
  call<Name extends UnaryName>(method: Name, request: RequestOf<Name>): Promise<ResponseOf<Name>>;
  /** Messages until the server ends the stream. Leaving the loop cancels the call. Errors as `call`. */
  stream<Name extends StreamName>(method: Name, request: StreamRequestOf<Name>): AsyncIterable<StreamResponseOf<Name>>;
  /** Ends when the server ends the stream. Leaving the loop cancels the call. */
  watch(request: WatchRequest): AsyncIterable<WatchResponse>;
  /** Ends when the repair does. Leaving the loop breaks the repair off. */
  repair(request: RepairRequest): AsyncIterable<RepairResponse>;
  /** What the coordinator presented on the connection that stands, DER, leaf first; empty: there is none. */
  presented(): Buffer[];
  close(): void;
}

export interface ConnectOptions {
  /** For each single call, in milliseconds. */
  requestTimeoutMs: number;
}

/** These change nothing: another coordinator may be asked for the same. */
const reads = /^(?:get|list|plan)/;
/** Another coordinator may do what this one could not. */
const elsewhere = new Set(['Unavailable', 'StoreFailure']);

/** Opens no connection yet: grpc connects at the first call. InvalidCertificate when the credentials do not fit together. */
export function connectAdmin(material: ContextMaterial, { requestTimeoutMs }: ConnectOptions): AdminApi {
  const reach = new Reach(material);
  const stream = <Name extends StreamName>(name: Name, request: StreamRequestOf<Name>): AsyncIterable<StreamResponseOf<Name>> =>
    messagesOf(reach, name, (client) => {
      const method = client[name].bind(client) as unknown as (message: typeof request) => ClientReadableStream<StreamResponseOf<Name>>;
      return method(request);
    });
  return {
    get server() {
      return reach.server;
    },
    async call<Name extends UnaryName>(name: Name, request: RequestOf<Name>): Promise<ResponseOf<Name>> {
      const endMs = performance.now() + requestTimeoutMs;
      for (let followed = false; ; ) {
        const { server, client } = await reach.get();
        const method = client[name].bind(client) as unknown as UnaryMethod<RequestOf<Name>, ResponseOf<Name>>;
        try {
          return await unary(method, request, { deadlineMs: Math.max(1, endMs - performance.now()) });
        } catch (caught) {
          const error = fromServiceError(caught);
          if (!goesOn(reach, name, error, followed)) throw withServer(error, server);
          followed ||= error.code === 'NotLeader';
        }
      }
    },
    stream,
    watch: (request) => stream('watch', request),
    repair: (request) => stream('repair', request),
    presented: () => reach.presented(),
    close: () => reach.close(),
  };
}

/** Whether the same is asked of another coordinator: of the one that runs the controllers, once; and where nothing was changed, of the next. */
function goesOn(reach: Reach, name: string, { code, metadata }: EvercertError, followed: boolean): boolean {
  if (code === 'NotLeader') return !followed && reach.follow(metadata['leader']);
  return reads.test(name) && elsewhere.has(code) && reach.skip();
}

async function* messagesOf<T>(reach: Reach, name: string, open: (client: AdminServiceClient) => ClientReadableStream<T>): AsyncIterable<T> {
  for (let followed = false; ; ) {
    const { server, client } = await reach.get();
    const stream = open(client);
    let begun = false;
    try {
      for await (const message of stream) {
        begun = true;
        yield message as T;
      }
      return;
    } catch (caught) {
      const error = fromServiceError(caught);
      if (begun || !goesOn(reach, name, error, followed)) throw withServer(error, server);
      followed ||= error.code === 'NotLeader';
    } finally {
      stream.cancel();
    }
  }
}

/** Marks what came from a call, so that the printed error says so. */
function withServer(error: EvercertError, server: string): EvercertError {
  return new EvercertError(error.code, error.message, {
    cause: error.cause,
    faults: [...error.faults],
    metadata: { ...error.metadata, server },
    ...(error.retryAfterMs !== undefined && { retryAfterMs: error.retryAfterMs }),
  });
}
