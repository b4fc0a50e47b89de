/** One connection with one identity to one endpoint: the Connect stream, and the calls that run beside it. */
import {
  type ConnectRequest,
  type ConnectResponse,
  type DesiredState,
  type Goodbye,
  type Hello,
  NodeServiceClient,
  type RenewNow,
  type Welcome,
} from '@evercert/proto';
import type { Clock, Timer } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { type ClientCredentials, createClientCredentials, fromServiceError, unary } from '@evercert/shared/grpc';
import type { Logger } from '@evercert/shared/logging';
import { signAdoption } from '@evercert/shared/wire';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { CoordinatorApi } from '../coordinator-api.ts';
import type { Identity } from '../identity/store.ts';
import { channelOptions } from './channel.ts';
import { durationToMs } from './convert.ts';

export interface LinkEnd {
  error: EvercertError;
  /** The coordinator's wish, in milliseconds. */
  retryAfterMs?: number;
  /** The coordinator has said goodbye: it still answers the calls under way. Other coordinators that it names, best first. */
  goodbye?: { endpoints: string[] };
}

export interface LinkOptions {
  endpoint: string;
  identity: Identity;
  trustAnchors: Buffer[];
  hello: Hello;
  clock: Clock;
  logger: Logger;
  onDesiredState: (state: DesiredState) => void;
  onRenewNow: (request: RenewNow) => void;
  /** The stream can take messages again. */
  onDrain: () => void;
  /** The coordinator has so long to take the stream. */
  welcomeMs: number;
  /** As in the channel's options. */
  silenceMs: number;
}

/** Calls that are under way when a link is replaced have so long to end. */
const drainMs = 10_000;

export class Link implements CoordinatorApi {
  readonly endpoint: string;
  readonly identity: Identity;
  /** The coordinator has taken the stream. Rejects when it does not. */
  readonly welcomed: Promise<Welcome>;
  /** The stream is over; never rejects. */
  readonly ended: Promise<LinkEnd>;
  readonly #options: LinkOptions;
  readonly #credentials: ClientCredentials;
  readonly #client: NodeServiceClient;
  readonly #stream: ClientDuplexStream<ConnectRequest, ConnectResponse>;
  readonly #welcome = Promise.withResolvers<Welcome>();
  readonly #end = Promise.withResolvers<LinkEnd>();
  readonly #abort = new AbortController();
  readonly #welcomeTimer: Timer;
  #goodbye: Pick<LinkEnd, 'retryAfterMs' | 'goodbye'> | undefined;
  #calls = 0;
  #idle: () => void = () => {};
  #over = false;
  /** Another link took over: what comes over this one is old news. */
  #retired = false;

  /** Errors: InvalidCertificate when the identity cannot be used. */
  constructor(options: LinkOptions) {
    this.#options = options;
    this.endpoint = options.endpoint;
    this.identity = options.identity;
    const { chain, privateKey } = options.identity;
    this.#credentials = createClientCredentials({ trustAnchors: options.trustAnchors, chain, privateKey });
    const keepalive = { 'grpc.keepalive_time_ms': options.silenceMs, 'grpc.keepalive_timeout_ms': options.silenceMs };
    this.#client = new NodeServiceClient(options.endpoint, this.#credentials, { ...channelOptions, ...keepalive });
    this.welcomed = this.#welcome.promise;
    this.ended = this.#end.promise;
    this.#stream = this.#client.connect();
    this.#stream.on('data', (message: ConnectResponse) => this.#receive(message));
    this.#stream.on('drain', options.onDrain);
    this.#stream.on('error', (error) => this.#finish(fromServiceError(error)));
    this.#stream.on('end', () => this.#finish(new EvercertError('Unavailable', 'the coordinator ended the stream')));
    const { welcomeMs } = options;
    this.#welcomeTimer = options.clock.after(welcomeMs, () =>
      this.#finish(new EvercertError('DeadlineExceeded', `${options.endpoint} did not answer the stream within ${welcomeMs / 1000} s`)),
    );
    this.send({ $case: 'hello', value: options.hello });
    // Whoever waits for the welcome sees its failure; nobody has to.
    this.welcomed.catch(() => {});
  }

  /** False when the stream is full or over: then `onDrain` tells when to go on. */
  get writable(): boolean {
    return !this.#over && this.#stream.writable && !this.#stream.writableNeedDrain;
  }

  /** What the coordinator presented on this connection, DER, leaf first. */
  serverChain(): Buffer[] {
    return this.#credentials.serverChain();
  }

  send(message: NonNullable<ConnectRequest['message']>): void {
    if (!this.#over && this.#stream.writable) this.#stream.write({ message });
  }

  async issueCertificate(
    ...[request, limits]: Parameters<CoordinatorApi['issueCertificate']>
  ): ReturnType<CoordinatorApi['issueCertificate']> {
    const response = await this.#call(
      (signal) => unary(this.#client.issueCertificate.bind(this.#client), request, { ...limits, signal }),
      limits.signal,
    );
    return { chain: buffers(response.chain), issuedAtMs: response.issuedAt?.getTime() ?? this.#options.clock.nowMs() };
  }

  async adoptCertificate(
    ...[{ privateKey, ...request }, limits]: Parameters<CoordinatorApi['adoptCertificate']>
  ): ReturnType<CoordinatorApi['adoptCertificate']> {
    const proof = await signAdoption(privateKey, { certificate: request.chain[0] as Buffer, identitySerial: this.identity.serial });
    const { adoptedAt, renewAt, differences } = await this.#call(
      (signal) => unary(this.#client.adoptCertificate.bind(this.#client), { ...request, proof }, { ...limits, signal }),
      limits.signal,
    );
    const adoptedAtMs = adoptedAt?.getTime() ?? this.#options.clock.nowMs();
    return { adoptedAtMs, renewAtMs: renewAt?.getTime() ?? adoptedAtMs, differences };
  }

  async renewIdentity(...[csr, limits]: Parameters<CoordinatorApi['renewIdentity']>): ReturnType<CoordinatorApi['renewIdentity']> {
    const response = await this.#call(
      (signal) => unary(this.#client.renewIdentity.bind(this.#client), { csr }, { ...limits, signal }),
      limits.signal,
    );
    return { chain: buffers(response.chain), trustAnchors: buffers(response.trustAnchors), serverChain: this.serverChain() };
  }

  getKeyPair(...[name, limits]: Parameters<CoordinatorApi['getKeyPair']>): ReturnType<CoordinatorApi['getKeyPair']> {
    return this.#call((signal) => unary(this.#client.getKeyPair.bind(this.#client), { name }, { ...limits, signal }), limits.signal);
  }

  async acquireRestartLease(...[{ component, durationMs }, limits]: Parameters<CoordinatorApi['acquireRestartLease']>): Promise<void> {
    const duration = { seconds: Math.ceil(durationMs / 1000), nanos: 0 };
    await this.#call(
      (signal) => unary(this.#client.acquireRestartLease.bind(this.#client), { component, duration }, { ...limits, signal }),
      limits.signal,
    );
  }

  async releaseRestartLease(...[request, limits]: Parameters<CoordinatorApi['releaseRestartLease']>): Promise<void> {
    await this.#call((signal) => unary(this.#client.releaseRestartLease.bind(this.#client), request, { ...limits, signal }), limits.signal);
  }

  /** Ends stream and calls at once. */
  close(): void {
    this.#finish(new EvercertError('Cancelled', 'the agent closed the connection'));
    this.#abort.abort();
    this.#client.close();
  }

  /** Ends the stream, lets the calls under way come to their end, then closes. */
  async drain(): Promise<void> {
    this.#retired = true;
    this.#stream.end();
    if (this.#calls > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#options.clock.after(drainMs, resolve);
        this.#idle = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    this.close();
  }

  async #call<T>(call: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.#calls += 1;
    try {
      return await call(signal ? AbortSignal.any([signal, this.#abort.signal]) : this.#abort.signal);
    } catch (error) {
      // Not the caller's wish: for it this is a connection that broke, and worth another try.
      if (!this.#abort.signal.aborted || signal?.aborted) throw error;
      throw new EvercertError('Unavailable', 'the connection to the coordinator ended during the call', { cause: error });
    } finally {
      this.#calls -= 1;
      if (this.#calls === 0) this.#idle();
    }
  }

  #receive({ message }: ConnectResponse): void {
    if (this.#retired) return;
    switch (message?.$case) {
      case 'welcome':
        this.#welcomeTimer.cancel();
        this.#welcome.resolve(message.value);
        return;
      case 'desiredState':
        this.#options.onDesiredState(message.value);
        return;
      case 'renewNow':
        this.#options.onRenewNow(message.value);
        return;
      case 'goodbye':
        this.#takeGoodbye(message.value);
        this.#finish(new EvercertError('Unavailable', `the coordinator ended the stream: ${message.value.reason}`));
        return;
      default:
        this.#options.logger.debug('The coordinator sent a message that this agent does not know', { endpoint: this.endpoint });
    }
  }

  #takeGoodbye({ reason, retryAfter, endpoints }: Goodbye): void {
    const retryAfterMs = durationToMs(retryAfter) ?? 0;
    this.#goodbye = { retryAfterMs, goodbye: { endpoints } };
    this.#options.logger.info('The coordinator said goodbye', {
      endpoint: this.endpoint,
      reason,
      retryAfterMs,
      others: endpoints.join(' '),
    });
  }

  #finish(error: EvercertError): void {
    if (this.#over) return;
    this.#over = true;
    this.#welcomeTimer.cancel();
    this.#welcome.reject(error);
    const { retryAfterMs } = error;
    this.#end.resolve({ error, ...(retryAfterMs !== undefined && { retryAfterMs }), ...this.#goodbye });
    // The error event that a cancelled stream still sends was handled above.
    this.#stream.cancel();
  }
}

function buffers(ders: Uint8Array[]): Buffer[] {
  return ders.map((der) => Buffer.from(der));
}
