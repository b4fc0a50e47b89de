/** Serves the status as JSON over HTTP on a unix socket that only the agent's own user can open. */
import { chmod, mkdir } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { dirname } from 'node:path';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { removeIfThere } from '@evercert/shared/files';
import { readText } from '@evercert/shared/http';
import * as z from 'zod';
import { pinSchema } from '../config.ts';
import { isToken } from '../identity/token.ts';
import { fetchStatus } from './client.ts';
import type { AgentStatus, RecoverOrder } from './types.ts';

/** Of `sockaddr_un`, less the closing zero. */
const maxSocketPath = 107;

const maxBody = 4096;
const wrongMethod = { code: 405, body: { error: 'this path has another method' } };
const recoverSchema = z.strictObject({
  token: z.string().refine(isToken).optional(),
  caPins: z.array(pinSchema).min(1).max(16).optional(),
});

interface Handlers {
  status: () => AgentStatus;
  /** Tries at once to come back. */
  recover: (order: RecoverOrder) => Promise<void>;
}

export interface StatusServer {
  close(): Promise<void>;
}

/**
 * GET /status, and POST /recover with `{"token": …, "caPins": […]}`, both optional. A socket that a dead agent left behind is replaced.
 * Errors: AlreadyExists when another agent answers on it, InvalidConfig when the path is too long, FileSystem.
 */
export async function startStatusServer(
  socketPath: string,
  status: () => AgentStatus,
  recover: (order: RecoverOrder) => Promise<void>,
): Promise<StatusServer> {
  if (Buffer.byteLength(socketPath) > maxSocketPath) {
    throw new EvercertError(
      'InvalidConfig',
      `statusSocket ${socketPath} is longer than the ${maxSocketPath} bytes that a socket's path may have`,
    );
  }
  if (await someoneAnswers(socketPath)) {
    throw new EvercertError(
      'AlreadyExists',
      `another agent already serves its status on ${socketPath}; stop it, or give this one its own statusSocket and stateDir`,
    );
  }
  const server = createServer((request, response) => {
    void answer(request, { status, recover }).then(({ code, body }) => {
      response.writeHead(code, { 'content-type': 'application/json', connection: 'close' }).end(`${JSON.stringify(body)}\n`);
    });
  });
  try {
    await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
    await removeIfThere(socketPath);
    await listen(server, socketPath);
    await chmod(socketPath, 0o600);
  } catch (error) {
    server.close();
    throw toEvercertError(error, 'FileSystem', `the status socket ${socketPath} cannot be opened`);
  }
  return {
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

interface Answer {
  code: number;
  body: object;
}

/** Never rejects. */
async function answer(request: IncomingMessage, { status, recover }: Handlers): Promise<Answer> {
  if (request.url === '/status') return request.method === 'GET' ? { code: 200, body: status() } : wrongMethod;
  if (request.url !== '/recover') return { code: 404, body: { error: 'GET /status and POST /recover are all there is' } };
  if (request.method !== 'POST') return wrongMethod;
  try {
    await recover(recoverSchema.parse(JSON.parse(await readBody(request))));
    return { code: 202, body: { accepted: true } };
  } catch (error) {
    // Only the code: the body may hold a token.
    return { code: 400, body: { error: toEvercertError(error, 'InvalidArgument').code } };
  }
}

function readBody(request: IncomingMessage): Promise<string> {
  return readText(request, maxBody, () => new EvercertError('InvalidArgument', `expected a body of at most ${maxBody} bytes`));
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function someoneAnswers(socketPath: string): Promise<boolean> {
  try {
    await fetchStatus(socketPath);
    return true;
  } catch (error) {
    return toEvercertError(error).code !== 'Unavailable';
  }
}
