/** Which of a context's coordinators is spoken to. */
import { AdminServiceClient } from '@evercert/proto';
import { hostPort } from '@evercert/shared/config';
import { type ClientCredentials, createClientCredentials } from '@evercert/shared/grpc';
import { connectivityState } from '@grpc/grpc-js';
import type { ContextMaterial } from './contexts/index.ts';

/** Longest answer that is taken, in bytes: a page of 1,000 certificates with room to spare. */
const maxAnswerBytes = 32 * 1024 * 1024;
/** While there is another, a coordinator to which no connection comes about is given up after this. */
const impatientMs = 3000;

const address = hostPort();

export interface Reached {
  /** HOST:PORT; several where none could be reached. */
  server: string;
  client: AdminServiceClient;
}

/**
 * Speaks to the first coordinator of the context that takes a connection, and stays with it. Where there are several, nothing is sent before the connection stands: a call that changes
 * something is never made twice.
 */
export class Reach {
  readonly #material: ContextMaterial;
  readonly #clients = new Map<string, { client: AdminServiceClient; credentials: ClientCredentials }>();
  /** Those that are left to be tried, the one in use first. */
  #left: string[];

  constructor(material: ContextMaterial) {
    this.#material = material;
    this.#left = [...material.endpoints];
    // Credentials that do not fit together are told of before anything else is done.
    this.#clientOf(this.server);
  }

  get server(): string {
    return this.#left[0] ?? this.#material.server;
  }

  /** The coordinator in use. When none can be reached it is the last, whose call then tells why, under the names of all. */
  async get(): Promise<Reached> {
    const tried: string[] = [];
    for (;;) {
      const client = this.#clientOf(this.server);
      tried.push(this.server);
      if (this.#material.endpoints.length < 2 || (await connects(client))) return { server: this.server, client };
      if (!this.skip()) return { server: tried.join(', '), client };
    }
  }

  /** Gives the one in use up for this run. False: there is no other. */
  skip(): boolean {
    if (this.#left.length < 2) return false;
    this.#left.shift();
    return true;
  }

  /** Goes to the coordinator of this address, whether the context names it or not. False: it is no address, or the one in use. */
  follow(leader: string | undefined): boolean {
    const parsed = address.safeDecode(leader ?? '');
    if (!parsed.success || parsed.data === this.server) return false;
    this.#left = [parsed.data, ...this.#left.filter((endpoint) => endpoint !== parsed.data)];
    return true;
  }

  /** What the coordinator in use presented on its connection, DER, leaf first; empty: there is none. */
  presented(): Buffer[] {
    return this.#clients.get(this.server)?.credentials.serverChain() ?? [];
  }

  close(): void {
    for (const { client } of this.#clients.values()) client.close();
  }

  #clientOf(server: string): AdminServiceClient {
    const known = this.#clients.get(server);
    if (known) return known.client;
    const { trustAnchors, chain, privateKey } = this.#material;
    const credentials = createClientCredentials({ trustAnchors, chain, privateKey });
    const client = new AdminServiceClient(server, credentials, {
      'grpc.max_receive_message_length': maxAnswerBytes,
      // A watch would not notice otherwise that its server's machine is gone.
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
    });
    this.#clients.set(server, { client, credentials });
    return client;
  }
}

/** Whether a connection comes about in a little time. */
function connects(client: AdminServiceClient): Promise<boolean> {
  const channel = client.getChannel();
  const endMs = performance.timeOrigin + performance.now() + impatientMs;
  return new Promise((resolve) => {
    const look = (late?: Error): void => {
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) resolve(true);
      else if (late || state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) resolve(false);
      else channel.watchConnectivityState(state, endMs, look);
    };
    look();
  });
}
