import { ClusterClient, KVClient, LeaseClient, MaintenanceClient, WatchClient } from '@evercert/proto/etcd';
import { Channel, type ChannelCredentials, connectivityState } from '@grpc/grpc-js';
import { call } from './call.ts';

/** What the last connection failed of; grpc-js tells no more than that it was dropped. */
export interface TlsTrouble {
  error?: string | undefined;
}

/** One member of etcd, by one connection that carries everything. */
export class Endpoint {
  /** `HOST:PORT`. */
  readonly target: string;
  readonly kv: KVClient;
  readonly watch: WatchClient;
  readonly lease: LeaseClient;
  readonly cluster: ClusterClient;
  readonly maintenance: MaintenanceClient;
  /** Failures since it last answered, and until when (monotonic) others are preferred. */
  failures = 0;
  avoidUntilMs = 0;
  readonly #channel: Channel;
  readonly #tls: TlsTrouble;
  #opening: Promise<void> | undefined;

  constructor(target: string, credentials: ChannelCredentials, tls: TlsTrouble) {
    this.target = target;
    this.#tls = tls;
    this.#channel = new Channel(target, credentials, {
      // Members under one name must not share a connection, and nothing is tried again in secret.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      // etcd ends connections that ping more often than every 5 s (--grpc-keepalive-min-time).
      'grpc.keepalive_time_ms': 5500,
      'grpc.keepalive_timeout_ms': 2500,
      'grpc.max_receive_message_length': maxAnswerBytes,
    });
    const options = { channelOverride: this.#channel };
    this.kv = new KVClient(target, credentials, options);
    this.watch = new WatchClient(target, credentials, options);
    this.lease = new LeaseClient(target, credentials, options);
    this.cluster = new ClusterClient(target, credentials, options);
    this.maintenance = new MaintenanceClient(target, credentials, options);
  }

  get tlsError(): string | undefined {
    return this.#tls.error;
  }

  /** Resolves once a connection stands. It is asked before anything is sent that must not be sent twice: a failure here surely left nothing behind. Throws gRPC's error. */
  async ready(timeoutMs: number): Promise<void> {
    if (this.#channel.getConnectivityState(false) === connectivityState.READY) return;
    this.#opening ??= this.#open(timeoutMs).finally(() => {
      this.#opening = undefined;
    });
    await this.#opening;
  }

  close(): void {
    this.#channel.close();
  }

  async #open(timeoutMs: number): Promise<void> {
    this.#tls.error = undefined;
    await call(this.maintenance.status.bind(this.maintenance), {}, { deadlineMs: timeoutMs });
    this.#tls.error = undefined;
  }
}

/** Ranges are read in pages whose values have less. */
const maxAnswerBytes = 64 * 1024 * 1024;
