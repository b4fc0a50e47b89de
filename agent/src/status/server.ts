/** Serves the status as JSON over HTTP on a unix socket that only the agent's own user can open. */
import { chmod, mkdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { dirname } from 'node:path';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { removeIfThere } from '@evercert/shared/files';
import { fetchStatus } from './client.ts';
import type { AgentStatus } from './types.ts';

/** Of `sockaddr_un`, less the closing zero. */
const maxSocketPath = 107;

export interface StatusServer {
  close(): Promise<void>;
}

/**
 * GET /status. A socket that a dead agent left behind is replaced.
 * Errors: AlreadyExists when another agent answers on it, InvalidConfig when the path is too long, FileSystem.
 */
export async function startStatusServer(socketPath: string, status: () => AgentStatus): Promise<StatusServer> {
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
    const known = request.url === '/status';
    const code = !known ? 404 : request.method === 'GET' ? 200 : 405;
    const body = code === 200 ? status() : { error: 'GET /status is all there is' };
    response.writeHead(code, { 'content-type': 'application/json', connection: 'close' }).end(`${JSON.stringify(body)}\n`);
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
