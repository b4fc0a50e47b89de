import { request } from 'node:http';
import { EvercertError } from '@evercert/shared/errors';
import type { AgentStatus, RecoverOrder } from './types.ts';

const answerMs = 5000;
const maxBytes = 16 * 1024 * 1024;

/** Asks the agent that listens on the socket. Errors: Unavailable when none answers, DeadlineExceeded when it does not in time, PermissionDenied, Internal. */
export function fetchStatus(socketPath: string): Promise<AgentStatus> {
  return ask<AgentStatus>(socketPath, { method: 'GET', path: '/status', expected: 200 });
}

/** Has the running agent try at once to come back; a token goes into its token file first, and pins take the place of what it trusts. Errors: as for fetchStatus. */
export async function askToRecover(socketPath: string, order: RecoverOrder): Promise<void> {
  await ask(socketPath, { method: 'POST', path: '/recover', expected: 202 }, order);
}

interface Question {
  method: 'GET' | 'POST';
  path: string;
  /** HTTP status of the good answer. */
  expected: number;
}

function ask<T>(socketPath: string, { method, path, expected }: Question, body?: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path, timeout: answerMs }, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxBytes)
          outgoing.destroy(new EvercertError('Internal', `${socketPath} answers with more than ${maxBytes} bytes; it is no agent`));
        chunks.push(chunk);
      });
      response.on('error', (error) => reject(unreachable(socketPath, error)));
      response.on('end', () => {
        try {
          if (response.statusCode !== expected) throw new Error(`status ${response.statusCode}`);
          resolve(JSON.parse(Buffer.concat(chunks).toString()) as T);
        } catch (error) {
          reject(new EvercertError('Internal', `${socketPath} does not answer as an agent does`, { cause: error }));
        }
      });
    });
    outgoing.on('timeout', () =>
      outgoing.destroy(new EvercertError('DeadlineExceeded', `the agent on ${socketPath} does not answer within ${answerMs / 1000} s`)),
    );
    outgoing.on('error', (error) => reject(unreachable(socketPath, error)));
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function unreachable(socketPath: string, error: Error): EvercertError {
  if (error instanceof EvercertError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'EACCES')
    return new EvercertError('PermissionDenied', `${socketPath} may not be opened by this user; run as the agent's user or as root`, {
      cause: error,
    });
  return new EvercertError('Unavailable', `no agent answers on ${socketPath} (${code || error.message}); is evercert-agent running?`, {
    cause: error,
  });
}
