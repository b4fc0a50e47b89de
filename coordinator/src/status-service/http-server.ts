import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Clock } from '@evercert/shared/clock';
import { formatHostPort } from '@evercert/shared/config';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';

/** Answer to a request. */
export interface HttpReply {
  status: number;
  /** `text/plain` by default. */
  type?: string;
  body: Buffer | string;
  headers?: Record<string, string>;
}

export interface HttpRequest {
  method: 'GET' | 'HEAD' | 'POST';
  /** The path as it was sent, still encoded, without a query. */
  path: string;
  headers: IncomingMessage['headers'];
  /** Empty for GET and HEAD. */
  body: Buffer;
}

export type HttpHandler = (request: HttpRequest) => Promise<HttpReply>;

/** Anybody can reach this server: nothing that comes in is unbounded. */
const limits = {
  bodyBytes: 64 * 1024,
  headerBytes: 16 * 1024,
  connections: 1024,
  requestsPerConnection: 1000,
  headersMs: 5000,
  requestMs: 10_000,
  idleMs: 15_000,
  keepAliveMs: 5000,
} as const;

export interface BoundedServer {
  port: number;
  /** Answers what is under way for at most a second, then cuts. Idempotent. */
  close(): Promise<void>;
}

/** A plain HTTP server for small, public answers. Unavailable: it cannot listen there. */
export async function startHttpServer(
  address: { host: string; port: number },
  handler: HttpHandler,
  { clock, logger }: { clock: Clock; logger: Logger },
): Promise<BoundedServer> {
  const server = createServer(
    {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => void serve(request, response, handler, logger),
  );
  server.maxConnections = limits.connections;
  server.maxRequestsPerSocket = limits.requestsPerConnection;
  server.setTimeout(limits.idleMs, (socket) => socket.destroy());
  await listen(server, address);
  const bound = server.address();
  return { port: typeof bound === 'object' && bound ? bound.port : address.port, close: () => close(server, clock) };
}

async function serve(request: IncomingMessage, response: ServerResponse, handler: HttpHandler, logger: Logger): Promise<void> {
  const { method } = request;
  try {
    if (method !== 'GET' && method !== 'HEAD' && method !== 'POST') {
      send(request, response, { status: 405, body: 'only GET, HEAD and POST are known here', headers: { allow: 'GET, HEAD, POST' } });
      return;
    }
    const body = method === 'POST' ? await readBody(request) : Buffer.alloc(0);
    if (body === undefined) {
      send(request, response, { status: 413, body: `a request has at most ${limits.bodyBytes} bytes`, headers: { connection: 'close' } });
      return;
    }
    const [path = ''] = (request.url ?? '').split('?', 1);
    send(request, response, await handler({ method, path, headers: request.headers, body }));
  } catch (error) {
    if (response.destroyed || request.destroyed) return;
    logger.error('cannot answer an HTTP request', { error: String(error) });
    if (response.headersSent) response.destroy();
    else send(request, response, { status: 500, body: 'this could not be answered; try again later' });
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, type, body, headers = {} }: HttpReply): void {
  const bytes = typeof body === 'string' ? Buffer.from(body === '' ? '' : `${body}\n`) : body;
  const described = status === 304 ? {} : { 'content-type': type ?? 'text/plain; charset=utf-8', 'content-length': String(bytes.length) };
  response.writeHead(status, { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store', ...described, ...headers });
  response.end(request.method === 'HEAD' || status === 304 ? undefined : bytes);
}

/** Undefined: it is larger than allowed. Rejects when the client goes away. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > limits.bodyBytes) return undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limits.bodyBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        toEvercertError(
          error,
          'Unavailable',
          `cannot listen on ${formatHostPort(host, port)} for CRL and OCSP (see who has the port with 'ss -ltnp', or set 'web.listen' to another)`,
        ),
      ),
    );
    server.listen({ host, port }, resolve);
  });
}

function close(server: Server, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const cut = clock.after(1000, () => server.closeAllConnections());
    server.close(() => {
      cut.cancel();
      resolve();
    });
    server.closeIdleConnections();
  });
}
