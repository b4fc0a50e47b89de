import {
  AdminServiceClient,
  type AdminServiceService,
  type RepairRequest,
  type RepairResponse,
  type WatchRequest,
  type WatchResponse,
} from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { createClientCredentials, fromServiceError, type UnaryMethod, unary } from '@evercert/shared/grpc';
import type { ClientReadableStream } from '@grpc/grpc-js';
import type { ContextMaterial } from './contexts/index.ts';

type Service = typeof AdminServiceService;
type UnaryName = Exclude<keyof Service, 'watch' | 'repair'>;
export type RequestOf<Name extends UnaryName> = Parameters<Service[Name]['requestSerialize']>[0];
export type ResponseOf<Name extends UnaryName> = ReturnType<Service[Name]['responseDeserialize']>;

/** The coordinator's admin service, as the commands use it. */
export interface AdminApi {
  /** HOST:PORT. */
  readonly server: string;
  /** Errors: the server's own code, or Unavailable, DeadlineExceeded and Cancelled from the transport. */
  call<Name extends UnaryName>(method: Name, request: RequestOf<Name>): Promise<ResponseOf<Name>>;
  /** Ends when the server ends the stream. Leaving the loop cancels the call. */
  watch(request: WatchRequest): AsyncIterable<WatchResponse>;
  /** Ends when the repair does. Leaving the loop breaks the repair off. */
  repair(request: RepairRequest): AsyncIterable<RepairResponse>;
  close(): void;
}

export interface ConnectOptions {
  /** For each single call, in milliseconds. */
  requestTimeoutMs: number;
}

/** Longest answer that is taken, in bytes: a page of 1,000 certificates with room to spare. */
const maxAnswerBytes = 32 * 1024 * 1024;

/** Opens no connection yet: grpc connects at the first call. InvalidCertificate when the credentials do not fit together. */
export function connectAdmin(material: ContextMaterial, { requestTimeoutMs }: ConnectOptions): AdminApi {
  const { server, trustAnchors, chain, privateKey } = material;
  const client = new AdminServiceClient(server, createClientCredentials({ trustAnchors, chain, privateKey }), {
    'grpc.max_receive_message_length': maxAnswerBytes,
    // A watch would not notice otherwise that its server's machine is gone.
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
  return {
    server,
    async call<Name extends UnaryName>(name: Name, request: RequestOf<Name>): Promise<ResponseOf<Name>> {
      const method = client[name].bind(client) as unknown as UnaryMethod<RequestOf<Name>, ResponseOf<Name>>;
      try {
        return await unary(method, request, { deadlineMs: requestTimeoutMs });
      } catch (error) {
        throw withServer(fromServiceError(error), server);
      }
    },
    watch: (request) => messagesOf(client.watch(request), server),
    repair: (request) => messagesOf(client.repair(request), server),
    close: () => client.close(),
  };
}

async function* messagesOf<T>(stream: ClientReadableStream<T>, server: string): AsyncIterable<T> {
  try {
    for await (const message of stream) yield message as T;
  } catch (error) {
    throw withServer(fromServiceError(error), server);
  } finally {
    stream.cancel();
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
