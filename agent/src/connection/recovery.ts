/** Coming back on an expired identity, over TLS with the server's certificate alone: the trust anchors on disk, or those that the pins find. */
import { RecoveryServiceClient } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import { createClientCredentials, fetchTrustAnchors, unary } from '@evercert/shared/grpc';
import { signRecovery } from '@evercert/shared/wire';
import type { CallLimits, RecoveryApi, RecoveryProof } from '../coordinator-api.ts';
import { type AskOptions, firstThatAnswers } from './ask.ts';
import { channelOptions, splitEndpoint } from './channel.ts';

export interface RecoveryOptions extends AskOptions {
  /** By which public keys a coordinator is found now. */
  pins: () => readonly string[];
  /** DER of the control CA's certificates as the agent has them on disk. */
  trustAnchors: () => Buffer[];
  clock: Clock;
}

const dialMs = 10_000;

/** Nonce and proof go to one coordinator over one connection: no other knows the nonce. */
export function createRecoveryApi(options: RecoveryOptions): RecoveryApi {
  const { pins, trustAnchors, clock } = options;
  const ask = async (endpoint: string, proof: RecoveryProof, limits: CallLimits): ReturnType<RecoveryApi['recover']> => {
    const known = trustAnchors();
    if (known.length > 0) {
      try {
        return await recover(endpoint, known, proof, limits);
      } catch (caught) {
        const error = toEvercertError(caught);
        if (error.code !== 'Unavailable') throw error;
      }
    }
    // Nobody answers, or the control CA was replaced while this agent was off: the pins tell which.
    const found = await fetchTrustAnchors({
      ...splitEndpoint(endpoint),
      pins: [...pins()],
      timeoutMs: Math.min(dialMs, limits.deadlineMs),
      clock,
    });
    return recover(endpoint, found, proof, limits);
  };
  return { recover: (proof, limits) => firstThatAnswers(options, (endpoint, tryLimits) => ask(endpoint, proof, tryLimits), limits) };
}

async function recover(
  endpoint: string,
  trustAnchors: Buffer[],
  { certificate, privateKey, csr }: RecoveryProof,
  limits: CallLimits,
): ReturnType<RecoveryApi['recover']> {
  const credentials = createClientCredentials({ trustAnchors });
  const client = new RecoveryServiceClient(endpoint, credentials, channelOptions);
  try {
    const { nonce } = await unary(client.beginRecovery.bind(client), {}, limits);
    const signature = await signRecovery(privateKey, { nonce, certificate, csr });
    const response = await unary(client.recover.bind(client), { nonce, certificate, csr, signature }, limits);
    return {
      chain: response.chain.map((der) => Buffer.from(der)),
      trustAnchors: response.trustAnchors.map((der) => Buffer.from(der)),
      serverChain: credentials.serverChain(),
      ...(response.issuedAt && { issuedAtMs: response.issuedAt.getTime() }),
    };
  } finally {
    client.close();
  }
}
