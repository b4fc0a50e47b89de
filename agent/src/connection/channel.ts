import type { ClientOptions } from '@grpc/grpc-js';

/** How often a coordinator that says nothing is asked for a sign of life, and how long it has for it. */
export const silenceMs = 5000;

/**
 * Dead connections are found by pings; grpc-js' own reconnecting is bounded, because the agent's loop does it with its own backoff and its own choice of
 * endpoint; channels of different identities share nothing.
 */
export const channelOptions: Partial<ClientOptions> = {
  'grpc.keepalive_time_ms': silenceMs,
  'grpc.keepalive_timeout_ms': silenceMs,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 500,
  'grpc.max_reconnect_backoff_ms': 5000,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
  'grpc.max_receive_message_length': 16 * 1024 * 1024,
};

/** Of `HOST:PORT`, with IPv6 addresses in brackets, as the configuration holds it. */
export function splitEndpoint(endpoint: string): { host: string; port: number } {
  const colon = endpoint.lastIndexOf(':');
  return { host: endpoint.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(endpoint.slice(colon + 1)) };
}
