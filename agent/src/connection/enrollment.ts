/** Joining, over gRPC with a server that is known by its pinned CA alone. */
import { EnrollmentServiceClient, type NodeFacts } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { createClientCredentials, fetchTrustAnchors, unary } from '@evercert/shared/grpc';
import type { RoleName } from '@evercert/shared/manifest';
import { roleFromProto, roleToProto } from '@evercert/shared/wire';
import type { CallLimits, EnrollmentApi } from '../coordinator-api.ts';
import { type AskOptions, firstThatAnswers } from './ask.ts';
import { channelOptions, splitEndpoint } from './channel.ts';

export interface EnrollmentOptions extends AskOptions {
  /** By which public keys a coordinator is found now. */
  pins: () => readonly string[];
  nodeName: string;
  role?: RoleName | undefined;
  facts: NodeFacts;
  clock: Clock;
}

const dialMs = 10_000;

/** Repeats with the same request are answered with the same identity: one that was lost with its coordinator is asked for again at the next. */
export function createEnrollmentApi(options: EnrollmentOptions): EnrollmentApi {
  const { pins, nodeName, role, facts, clock } = options;
  const anchorsOf = (endpoint: string, { deadlineMs }: CallLimits): Promise<Buffer[]> =>
    fetchTrustAnchors({ ...splitEndpoint(endpoint), pins: [...pins()], timeoutMs: Math.min(dialMs, deadlineMs), clock });
  return {
    fetchTrustAnchors: (limits) => firstThatAnswers(options, anchorsOf, limits),
    enroll: ({ token, csr }, limits) =>
      firstThatAnswers(
        options,
        async (endpoint, tryLimits) => {
          const trustAnchors = await anchorsOf(endpoint, tryLimits);
          const credentials = createClientCredentials({ trustAnchors });
          const client = new EnrollmentServiceClient(endpoint, credentials, channelOptions);
          try {
            const request = { token, nodeName, csr, facts, role: roleToProto(role) };
            const response = await unary(client.enroll.bind(client), request, tryLimits);
            const granted = roleFromProto(response.role) ?? role;
            if (!granted) throw new EvercertError('Internal', 'the coordinator enrolled this node without a role: upgrade the agent');
            return {
              chain: buffers(response.chain),
              trustAnchors: buffers(response.trustAnchors),
              serverChain: credentials.serverChain(),
              cluster: response.cluster,
              role: granted,
            };
          } finally {
            client.close();
          }
        },
        limits,
      ),
  };
}

function buffers(ders: Uint8Array[]): Buffer[] {
  return ders.map((der) => Buffer.from(der));
}
