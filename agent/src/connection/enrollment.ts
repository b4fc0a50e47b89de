/** Joining, over gRPC with a server that is known by its pinned CA alone. */
import { EnrollmentServiceClient, type NodeFacts } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { createClientCredentials, fetchTrustAnchors, unary } from '@evercert/shared/grpc';
import type { RoleName } from '@evercert/shared/manifest';
import { roleFromProto, roleToProto } from '@evercert/shared/wire';
import type { EnrollmentApi } from '../coordinator-api.ts';
import { channelOptions, splitEndpoint } from './channel.ts';

export interface EnrollmentOptions {
  endpoints: readonly string[];
  pins: readonly string[];
  nodeName: string;
  role?: RoleName | undefined;
  facts: NodeFacts;
  clock: Clock;
}

const dialMs = 10_000;

export function createEnrollmentApi({ endpoints, pins, nodeName, role, facts, clock }: EnrollmentOptions): EnrollmentApi {
  const anchorsOf = (endpoint: string): Promise<Buffer[]> =>
    fetchTrustAnchors({ ...splitEndpoint(endpoint), pins: [...pins], timeoutMs: dialMs, clock });
  return {
    fetchTrustAnchors: ({ signal }) => firstThatAnswers(endpoints, anchorsOf, signal),
    enroll: ({ token, csr }, { deadlineMs, signal }) =>
      firstThatAnswers(
        endpoints,
        async (endpoint) => {
          const trustAnchors = await anchorsOf(endpoint);
          const client = new EnrollmentServiceClient(endpoint, createClientCredentials({ trustAnchors }), channelOptions);
          try {
            const request = { token, nodeName, csr, facts, role: roleToProto(role) };
            const response = await unary(client.enroll.bind(client), request, { deadlineMs, signal });
            const granted = roleFromProto(response.role) ?? role;
            if (!granted) throw new EvercertError('Internal', 'the coordinator enrolled this node without a role: upgrade the agent');
            return {
              chain: buffers(response.chain),
              trustAnchors: buffers(response.trustAnchors),
              cluster: response.cluster,
              role: granted,
            };
          } finally {
            client.close();
          }
        },
        signal,
      ),
  };
}

/** Goes on to the next endpoint only when one cannot be reached; what a coordinator said counts. */
export async function firstThatAnswers<T>(
  endpoints: readonly string[],
  ask: (endpoint: string) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  let last = new EvercertError('Unavailable', 'no coordinator endpoint is configured');
  for (const endpoint of endpoints) {
    if (signal?.aborted) throw new EvercertError('Cancelled', 'the agent stops');
    try {
      return await ask(endpoint);
    } catch (caught) {
      last = toEvercertError(caught);
      if (last.code !== 'Unavailable' && last.code !== 'DeadlineExceeded') throw last;
    }
  }
  throw last;
}

function buffers(ders: Uint8Array[]): Buffer[] {
  return ders.map((der) => Buffer.from(der));
}
