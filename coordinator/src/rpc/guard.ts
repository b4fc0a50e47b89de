import type { Clock, Timer } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { toServiceError } from '@evercert/shared/grpc';
import type { Logger } from '@evercert/shared/logging';
import {
  type handleUnaryCall,
  type Server,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { authorize } from './authorization.ts';
import type { CallLog } from './call-log.ts';
import { actorOf, type Caller, type Callers } from './callers.ts';
import { Strangers } from './strangers.ts';

type PeerCertificate = { raw: Buffer; fingerprint256: string };

/** What the four kinds of grpc-js server calls have in common. */
interface AnyCall {
  getAuthContext(): { sslPeerCertificate?: object };
  getPeer(): string;
  readonly cancelled: boolean;
  on(event: 'cancelled', listener: () => void): unknown;
  emit(event: 'error', error: Error): unknown;
}

/** What the guard needs of a call before its first byte is read, beyond grpc-js's public interface. */
interface EarlyCall extends ServerInterceptingCallInterface {
  stream?: { session?: object; once(event: 'close', listener: () => void): unknown };
  decoder?: { maxReadMessageLength: number };
  maxReceiveMessageSize?: number;
}

/** The largest message, in bytes. It is kept whole before anybody looks at it, so that a stranger gets what a request of 64 KiB needs, and a node what its report does. */
const messageBytes = { anonymous: 128 * 1024, node: 256 * 1024, admin: 4 * 1024 * 1024 } satisfies Record<Caller['kind'], number>;
/** A stranger's call is over by then: a body that comes byte by byte must not hold its place for ever. */
const strangerMs = 30_000;
/** Strangers may watch the health for as long as they like; these calls have no body worth mentioning. */
const unbounded = new Set(['/grpc.health.v1.Health/Watch']);

/** A call that the server answers with a stream. */
export interface StreamCall {
  /** Absent for one that the caller streams too. */
  request?: unknown;
  end(): unknown;
  emit(event: 'error', error: Error): unknown;
}

export interface CallContext {
  caller: Caller;
  /** As `/evercert.v1.AdminService/Apply`. */
  method: string;
  /** `address:port` of the connection. */
  peer: string;
  /** Aborts when the caller goes away. */
  signal: AbortSignal;
  /** Identifies and authorizes the caller again, for streams that outlive an identity. Throws as at the beginning. */
  recheck(): void;
}

export type GuardedHandler<Request, Response> = (request: Request, context: CallContext) => Promise<Response>;

/** Puts the authorization table in front of every method of every service, including those of libraries (health, reflection). */
export class Guard {
  readonly #callers: Callers;
  readonly #logger: Logger;
  readonly #contexts = new WeakMap<object, CallContext>();
  readonly #failed = new WeakSet<object>();
  readonly #endless = new Map<StreamCall, CallContext>();
  readonly #streams = new Map<StreamCall, CallContext>();
  readonly #peers = new WeakMap<object, { certificate: PeerCertificate | undefined }>();
  readonly #clock: Clock;
  readonly #calls: CallLog | undefined;
  readonly #strangers = new Strangers();

  /** @param calls told of every call that has ended, and of those that were refused. */
  constructor(callers: Callers, logger: Logger, clock: Clock, calls?: CallLog) {
    this.#calls = calls;
    this.#callers = callers;
    this.#logger = logger;
    this.#clock = clock;
  }

  /**
   * To be given to the server: refuses calls before their bodies are read. grpc-js reads a whole message before it calls the handler, and up to 256 of them at once on each
   * connection; without this, whoever reaches the port fills the memory.
   */
  readonly interceptor: ServerInterceptor = ({ path }, call: EarlyCall) => {
    let caller: Caller | undefined;
    try {
      caller = this.#callers.identify(this.#peerCertificate(call, call.stream?.session), call.getPeer());
      authorize(path, caller);
      this.#bound(path, call, caller);
      // As it is: of what an interceptor returns grpc-js uses the interface alone, and most calls need no wrapping.
      return call as ServerInterceptingCallInterface as ServerInterceptingCall;
    } catch (error) {
      this.#calls?.refused(path, caller, call.getPeer(), error);
      const { code = status.UNKNOWN, details = '', metadata } = toServiceError(error);
      return new ServerInterceptingCall(call, { start: () => call.sendStatus({ code, details, ...(metadata && { metadata }) }) });
    }
  };

  #bound(path: string, call: EarlyCall, caller: Caller): void {
    const { stream } = call;
    if (!stream || !call.decoder || call.maxReceiveMessageSize === undefined) throw new Error('grpc-js reads messages in another way');
    call.decoder.maxReadMessageLength = messageBytes[caller.kind];
    // What it may become when it is decompressed.
    call.maxReceiveMessageSize = messageBytes[caller.kind];
    if (caller.kind !== 'anonymous' || unbounded.has(path)) return;
    const leave = this.#strangers.enter(call.getPeer());
    const timer = this.#clock.after(strangerMs, () =>
      call.sendStatus({ code: status.DEADLINE_EXCEEDED, details: 'the call took too long' }),
    );
    stream.once('close', () => {
      timer.cancel();
      leave();
    });
  }

  /** A stand-in for the server that guards what is added to it. */
  on(server: Server): Pick<Server, 'addService'> {
    return {
      addService: (definition: ServiceDefinition, implementation: UntypedServiceImplementation) => {
        const guarded = Object.entries(definition).map(([name, { path, originalName }]) => {
          const handler = implementation[name] ?? implementation[originalName ?? ''];
          if (typeof handler !== 'function') throw new Error(`${path} has no handler`);
          return [name, this.#guarded(path, handler.bind(implementation) as (...args: unknown[]) => void)];
        });
        server.addService(definition, Object.fromEntries(guarded));
      },
    };
  }

  /** A unary method as a promise: what it throws reaches the caller as a typed error, or as "internal error" with the cause in the log. */
  unary<Request, Response>(handler: GuardedHandler<Request, Response>): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      const context = this.contextOf(call);
      handler(call.request, context).then(
        (response) => {
          this.#calls?.ended(context, call.request, undefined);
          callback(null, response);
        },
        (error: unknown) => {
          this.#calls?.ended(context, call.request, error);
          callback(this.failure(error, context));
        },
      );
    };
  }

  /** A stream whose handler runs until the stream's end. */
  stream<Call extends StreamCall>(handler: (call: Call, context: CallContext) => Promise<void>): (call: Call) => void {
    return (call) => {
      const context = this.contextOf(call);
      const expiry = this.#endAtExpiry(call, context);
      this.#streams.set(call, context);
      handler(call, context)
        .then(
          () => {
            this.#calls?.ended(context, call.request, undefined);
            call.end();
          },
          (error: unknown) => {
            this.#calls?.ended(context, call.request, error);
            this.fail(call, error, context);
          },
        )
        .finally(() => {
          expiry?.cancel();
          this.#streams.delete(call);
        });
    };
  }

  /** As `stream`, for one that nothing ends but its reader: it would hold up the end of the server. */
  endless<Call extends StreamCall>(handler: (call: Call, context: CallContext) => Promise<void>): (call: Call) => void {
    return this.stream(async (call: Call, context) => {
      this.#endless.set(call, context);
      try {
        await handler(call, context);
      } finally {
        this.#endless.delete(call);
      }
    });
  }

  /** Ends them: their readers begin anew, elsewhere or later. */
  endEndless(): void {
    const error = new EvercertError('Unavailable', 'the coordinator stops: begin the watch anew', { retryAfterMs: 1000 });
    for (const [call, context] of this.#endless) this.fail(call, error, context);
  }

  /** A stream that was opened with a good certificate is of no use beyond its end (invariant 9). */
  #endAtExpiry(call: StreamCall, context: CallContext): Timer | undefined {
    if (context.caller.kind === 'anonymous') return undefined;
    return this.#clock.at(context.caller.notAfterMs, () => this.#recheck(call, context));
  }

  /** Other identities are trusted than before: whoever has a stream open is judged anew. */
  recheckStreams(): void {
    for (const [call, context] of this.#streams) this.#recheck(call, context);
  }

  #recheck(call: StreamCall, context: CallContext): void {
    try {
      context.recheck();
    } catch (error) {
      this.fail(call, error, context);
    }
  }

  /** Ends a stream with an error; the first one counts. grpc-js sends the status of an 'error' event, and none for a stream that is destroyed. */
  fail(call: StreamCall, error: unknown, context: CallContext): void {
    if (this.#failed.has(call)) return;
    this.#failed.add(call);
    call.emit('error', this.failure(error, context));
  }

  contextOf(call: object): CallContext {
    const context = this.#contexts.get(call);
    if (!context) throw new Error('a handler was called without the guard');
    return context;
  }

  /** An error as it may leave the process; logs what is ours to mend. */
  failure(error: unknown, context: Pick<CallContext, 'caller' | 'peer'>): Error {
    const known = error instanceof EvercertError;
    const fields = { actor: actorOf(context.caller), peer: context.peer };
    if (!known || error.code === 'Internal') {
      this.#logger.error('a call failed', { ...fields, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    } else {
      this.#logger.debug('a call was refused', { ...fields, code: error.code, error: error.message });
    }
    return Object.assign(new Error(), toServiceError(error));
  }

  #guarded(path: string, handler: (...args: unknown[]) => void): (call: AnyCall, callback?: (error: Error) => void) => void {
    return (call, callback) => {
      const peer = call.getPeer();
      try {
        this.#contexts.set(call, this.#admit(path, call, peer));
      } catch (error) {
        const refusal = this.failure(error, { caller: { kind: 'anonymous' }, peer });
        if (callback) callback(refusal);
        else call.emit('error', refusal);
        return;
      }
      handler(call, callback);
    };
  }

  /** A connection's client certificate does not change: it is asked for once, since each asking decodes it anew. What it is worth is judged on every call. */
  #peerCertificate(call: Pick<AnyCall, 'getAuthContext'>, session = sessionOf(call)): PeerCertificate | undefined {
    const known = session && this.#peers.get(session);
    if (known) return known.certificate;
    const certificate = call.getAuthContext().sslPeerCertificate as PeerCertificate | undefined;
    if (session) this.#peers.set(session, { certificate });
    return certificate;
  }

  #admit(path: string, call: AnyCall, peer: string): CallContext {
    const certificate = this.#peerCertificate(call);
    const check = (from: string | undefined): Caller => {
      const caller = this.#callers.identify(certificate, from);
      authorize(path, caller);
      return caller;
    };
    let controller: AbortController | undefined;
    return {
      caller: check(peer),
      method: path,
      peer,
      recheck: () => {
        check(undefined);
      },
      // Made when somebody asks: most calls are over before anybody could cancel them.
      get signal(): AbortSignal {
        if (controller === undefined) {
          const made = new AbortController();
          if (call.cancelled) made.abort();
          else call.on('cancelled', () => made.abort());
          controller = made;
        }
        return controller.signal;
      },
    };
  }
}

/** The HTTP/2 session under a call. grpc-js has no public way to it: where its inside looks otherwise, undefined, and nothing is remembered. */
function sessionOf(call: object): object | undefined {
  return (call as { call?: { stream?: { session?: object } } }).call?.stream?.session;
}

/** The caller as a node; the authorization table lets none but nodes come here. */
export function nodeOf({ caller }: CallContext): Extract<Caller, { kind: 'node' }> {
  if (caller.kind !== 'node') throw new EvercertError('PermissionDenied', 'only a node may call this');
  return caller;
}
