import { KVClient } from '@evercert/proto/etcd';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { createClientCredentials } from '@evercert/shared/grpc';
import { connectivityState } from '@grpc/grpc-js';
import { type ClientFiles, type ClientMaterial, readClientMaterial } from './credentials.ts';

export interface RotatingChannelOptions {
  /** `HOST:PORT` of the member. */
  target: string;
  files: ClientFiles;
  /** A connection older than this is replaced although nothing changed. */
  freshEveryMs: number;
  clock: Clock;
  onProblem: (message: string) => void;
}

interface Connection {
  client: KVClient;
  fingerprint: string;
  openedMs: number;
  inFlight: number;
  retired: boolean;
}

const connectTimeoutMs = 5000;

/**
 * A connection to one etcd member that is replaced, make before break, whenever the certificates on the node change and every few seconds besides: so the newest
 * certificates of both sides are in a handshake all the time. The old connection serves until the new one stands, and closes after its last call.
 */
export class RotatingChannel {
  readonly target: string;
  /** Handshakes that stood. */
  opened = 0;
  /** Attempts that failed: refused, wrong certificates, no answer. The old connection was used on. */
  failedAttempts = 0;
  readonly #options: RotatingChannelOptions;
  #current: Connection | undefined;

  constructor(options: RotatingChannelOptions) {
    this.target = options.target;
    this.#options = options;
  }

  /** Replaces the connection if it is time to. Called every so often; never throws, tells `onProblem`. */
  async refresh(): Promise<void> {
    const { files, clock, freshEveryMs } = this.#options;
    try {
      const material = await readClientMaterial(files, clock);
      const old = this.#current;
      const young = old !== undefined && clock.monotonicMs() - old.openedMs < freshEveryMs;
      if (young && old.fingerprint === material.fingerprint) return;
      this.#current = await this.#connect(material);
      if (old) this.#retire(old);
    } catch (error) {
      this.#options.onProblem(`no new connection to etcd at ${this.target}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  get connected(): boolean {
    return this.#current !== undefined;
  }

  /** Runs one call on the present connection. Unavailable before there was any. */
  async use<T>(call: (client: KVClient) => Promise<T>): Promise<T> {
    const connection = this.#current;
    if (!connection) throw new EvercertError('Unavailable', `there has been no connection to etcd at ${this.target} yet`);
    connection.inFlight += 1;
    try {
      return await call(connection.client);
    } finally {
      connection.inFlight -= 1;
      if (connection.retired && connection.inFlight === 0) connection.client.close();
    }
  }

  close(): void {
    if (this.#current) this.#retire(this.#current);
    this.#current = undefined;
  }

  #retire(connection: Connection): void {
    connection.retired = true;
    if (connection.inFlight === 0) connection.client.close();
  }

  async #connect(material: ClientMaterial): Promise<Connection> {
    const client = new KVClient(this.target, createClientCredentials(material), {
      // Without these, a new client would share the old one's connection, and a failed call could be tried again in secret.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 200,
      'grpc.max_reconnect_backoff_ms': 1000,
    });
    try {
      await this.#ready(client);
    } catch (error) {
      client.close();
      throw error;
    }
    this.opened += 1;
    return { client, fingerprint: material.fingerprint, openedMs: this.#options.clock.monotonicMs(), inFlight: 0, retired: false };
  }

  /** Resolves once the handshake stands; counts each attempt that failed on the way. */
  async #ready(client: KVClient): Promise<void> {
    const channel = client.getChannel();
    const end = this.#options.clock.nowMs() + connectTimeoutMs;
    for (let state = channel.getConnectivityState(true); state !== connectivityState.READY; state = channel.getConnectivityState(true)) {
      if (state === connectivityState.TRANSIENT_FAILURE) this.failedAttempts += 1;
      const late = await new Promise<boolean>((resolve) => {
        channel.watchConnectivityState(state, end, (error) => resolve(error !== undefined));
      });
      if (late) throw new EvercertError('DeadlineExceeded', `no handshake within ${connectTimeoutMs / 1000} s`);
    }
  }
}
