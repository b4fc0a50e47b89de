import type { KeyObject } from 'node:crypto';
import { type ConnectRequest, type ConnectResponse, type DesiredState, type NodeServiceClient, Role } from '@evercert/proto';
import { type ErrorCode, EvercertError } from '@evercert/shared/errors';
import { fromServiceError, unary } from '@evercert/shared/grpc';
import { createCsr } from '@evercert/shared/x509';
import { deadline } from './coordinator.ts';

export { Role };

/** An agent's stream as a test drives it. */
export class AgentStream {
  readonly messages: ConnectResponse[] = [];
  ended: EvercertError | 'end' | undefined;
  readonly #call: ReturnType<NodeServiceClient['connect']>;
  #wake: () => void = () => {};

  constructor(client: NodeServiceClient) {
    this.#call = client.connect();
    this.#call.on('data', (message: ConnectResponse) => {
      this.messages.push(message);
      this.#wake();
    });
    this.#call.on('error', (error) => {
      this.ended ??= fromServiceError(error);
      this.#wake();
    });
    this.#call.on('end', () => {
      this.ended ??= 'end';
      this.#wake();
    });
  }

  send(message: NonNullable<ConnectRequest['message']>): void {
    this.#call.write({ message });
  }

  hello(addresses: string[] = []): void {
    this.send({ $case: 'hello', value: { facts: { hostname: 'h', addresses, agentVersion: 'test', os: '' }, desiredRevision: '' } });
  }

  /** Waits until the condition holds after some message or the end. */
  async until<T>(condition: () => T | undefined): Promise<T> {
    for (;;) {
      const found = condition();
      if (found !== undefined) return found;
      if (this.ended !== undefined) throw this.ended === 'end' ? new Error('the stream ended') : this.ended;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The newest desired state; waits for the first one, or for one other than `than`. */
  desired(than?: string): Promise<DesiredState> {
    return this.until(() => {
      const states = this.messages.flatMap(({ message }) => (message?.$case === 'desiredState' ? [message.value] : []));
      const newest = states.at(-1);
      return newest && newest.revision !== than ? newest : undefined;
    });
  }

  close(): void {
    this.#call.cancel();
  }
}

/** The desired state of a node, by a stream of its own. */
export async function desiredState(client: NodeServiceClient): Promise<DesiredState> {
  const stream = new AgentStream(client);
  stream.hello();
  try {
    return await stream.desired();
  } finally {
    stream.close();
  }
}

export async function issue(client: NodeServiceClient, name: string, specHash: string, privateKey: KeyObject): Promise<Buffer[]> {
  const csr = await createCsr({ privateKey, commonName: 'ignored' });
  const { chain } = await unary(client.issueCertificate.bind(client), { name, csr, specHash, reason: 'Initial' }, deadline);
  return chain;
}

/** For assert.rejects: an EvercertError with this code. */
export function withCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    if (error instanceof EvercertError && error.code === code) return true;
    throw new Error(
      `expected an error with code ${code}, got ${error instanceof EvercertError ? `${error.code}: ${error.message}` : String(error)}`,
    );
  };
}
