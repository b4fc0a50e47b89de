/** Serves the host of machines as JSON over HTTP on a unix socket that only this user can open. */
import { chmod } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type ErrorCode, EvercertError, toEvercertError } from '@evercert/shared/errors';
import { readText } from '@evercert/shared/http';
import { z } from 'zod';
import type { MachineHost } from './host.ts';

export interface MachineApi {
  /** Takes no more calls; those under way are cut. */
  close(): Promise<void>;
}

const maxBody = 64 * 1024;
const maxConnections = 64;
const requestTimeoutMs = 10_000;

const nodeName = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected a name of lower-case letters, digits and hyphens');
const idempotencyKey = z.string().regex(/^[A-Za-z0-9._~-]{1,128}$/, 'expected 1 to 128 unreserved characters');
const someText = z.string().min(1).max(512);

const createSchema = z.strictObject({
  idempotencyKey,
  cluster: someText,
  node: z.strictObject({
    name: nodeName,
    labels: z.record(z.string().max(512), z.string().max(512)).default({}),
    addresses: z
      .array(z.union([z.ipv4(), z.ipv6()]))
      .max(64)
      .default([]),
    dnsNames: z.array(someText).max(64).default([]),
  }),
  join: z.strictObject({
    token: someText,
    tokenExpiresAtMs: z.number().optional(),
    endpoints: z.array(someText).min(1).max(16),
    caPins: z.array(someText).min(1).max(16),
  }),
});
const removeSchema = z.strictObject({ cluster: someText, key: idempotencyKey });

/** https://www.rfc-editor.org/rfc/rfc9110#name-status-codes; the code in the body is what counts. */
const httpStatus: Partial<Record<ErrorCode, number>> = {
  InvalidArgument: 400,
  PermissionDenied: 403,
  NotFound: 404,
  AlreadyExists: 409,
  FailedPrecondition: 412,
  Overloaded: 429,
  Unavailable: 503,
};

/**
 * `GET /v1/machines`, `PUT /v1/machines/NAME` and `DELETE /v1/machines/NAME?cluster=CLUSTER&key=KEY`. Failures are told as `{"code", "message"}` with an EvercertError's code.
 * Errors: FileSystem when the socket cannot be opened.
 */
export async function serveMachines(socketPath: string, host: MachineHost): Promise<MachineApi> {
  const server = createServer({ requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs }, (request, response) => {
    void answer(request, host).then(({ status, body }) => {
      response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(`${JSON.stringify(body)}\n`);
    });
  });
  server.maxConnections = maxConnections;
  try {
    await listen(server, socketPath);
    await chmod(socketPath, 0o600);
  } catch (error) {
    server.close();
    throw toEvercertError(error, 'FileSystem', `the socket ${socketPath} for machines cannot be opened`);
  }
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Answer {
  status: number;
  body: object;
}

/** Never rejects. */
async function answer(request: IncomingMessage, host: MachineHost): Promise<Answer> {
  try {
    return { status: 200, body: await act(request, host) };
  } catch (error) {
    const { code, message, retryAfterMs } = toEvercertError(error);
    return { status: httpStatus[code] ?? 500, body: { code, message, ...(retryAfterMs !== undefined && { retryAfterMs }) } };
  }
}

async function act(request: IncomingMessage, host: MachineHost): Promise<object> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const name = /^\/v1\/machines\/([^/]+)$/.exec(url.pathname)?.[1];
  if (request.method === 'GET' && url.pathname === '/v1/machines') return { machines: host.list() };
  if (request.method === 'PUT' && name !== undefined) {
    const { node, join, ...action } = checked(createSchema, await readJson(request));
    if (node.name !== name) throw new EvercertError('InvalidArgument', `the body is for ${node.name}, the path for ${name}`);
    return { message: await host.create({ ...action, name, addresses: node.addresses, join }) };
  }
  if (request.method === 'DELETE' && name !== undefined) {
    const { cluster, key } = checked(removeSchema, Object.fromEntries(url.searchParams));
    return { message: await host.remove({ cluster, idempotencyKey: key, name: checked(nodeName, name) }) };
  }
  throw new EvercertError('NotFound', 'GET /v1/machines, PUT /v1/machines/NAME and DELETE /v1/machines/NAME are all there is');
}

/** Tells fields and what was expected there, never their values: one of them is a secret. */
function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const faults = result.error.issues.slice(0, 5).map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new EvercertError('InvalidArgument', `the request is not as it should be: ${faults.join('; ')}`);
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const tooLong = (): EvercertError => new EvercertError('InvalidArgument', `expected a body of at most ${maxBody} bytes`);
  const text = await readText(request, maxBody, tooLong);
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message would quote the body.
    throw new EvercertError('InvalidArgument', 'expected a JSON body');
  }
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
