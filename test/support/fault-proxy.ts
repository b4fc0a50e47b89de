/** A proxy before an API server, which makes it as bad as a test wants: away, slow, refusing, forgetful, repeating itself. */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent, createServer, request, type Server } from 'node:https';
import type { Socket } from 'node:net';
import { systemClock } from '@evercert/shared/clock';
import type { KubernetesPki } from './kubernetes-pki.ts';

/** What is done with one request; nothing of it: it passes. */
export interface Fault {
  /** Answered by the proxy with this status; the server never hears of it. */
  refuse?: number;
  retryAfterSeconds?: number;
  /** The server acts on it; its answer is lost, and this is answered, or the connection is closed. */
  lose?: number | 'closed';
  /** The server acts on it; the answer comes later. */
  delayAnswerMs?: number;
  /** The server hears of it later, even if nobody waits for the answer any more. */
  delayRequestMs?: number;
  /** There is never an answer. */
  silent?: boolean;
}

export interface ProxiedRequest {
  method: string;
  /** Without the query. */
  path: string;
  watch: boolean;
}

interface OpenWatch {
  path: string;
  response: ServerResponse;
  upstream: IncomingMessage;
}

const reasons: Record<number, string> = {
  409: 'Conflict',
  410: 'Expired',
  429: 'TooManyRequests',
  500: 'InternalError',
};

export async function startFaultProxy(options: { pki: KubernetesPki; server: string; user: string; port?: number }): Promise<FaultProxy> {
  const { pki, server, user } = options;
  const [serving, client] = [
    await pki.server('fault-proxy'),
    await pki.client(`fault-proxy-${user.replaceAll(':', '-')}`, { commonName: user }),
  ];
  const ca = readFileSync(pki.caFile);
  const read = (pair: { certificate: string; privateKey: string }): { cert: Buffer; key: Buffer } => ({
    cert: readFileSync(pair.certificate),
    key: readFileSync(pair.privateKey),
  });
  const proxy = new FaultProxy(server, read(serving), new Agent({ keepAlive: true, ca, ...read(client) }));
  await proxy.listen();
  return proxy;
}

export class FaultProxy {
  /** Asked for each request; the first fault that is told is the one. */
  readonly faults = new Set<(request: ProxiedRequest) => Fault | undefined>();
  /** Lines that are sent for one line of a watch. */
  rewrite: (line: string) => string[] = (line) => [line];
  /** Requests since the start, those that were refused included. */
  readonly seen: ProxiedRequest[] = [];
  readonly #upstream: string;
  readonly #agent: Agent;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #watches = new Set<OpenWatch>();
  #port = 0;

  constructor(upstream: string, pair: { cert: Buffer; key: Buffer }, agent: Agent) {
    this.#upstream = upstream;
    this.#agent = agent;
    this.#server = createServer(pair, (incoming, response) => {
      this.#serve(incoming, response).catch(() => response.destroy());
    });
    this.#server.on('secureConnection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** On the same port as before. */
  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => this.#server.once('error', reject).listen(this.#port, '127.0.0.1', resolve));
    const address = this.#server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Connections are refused from now on, and those that are open are reset. */
  async vanish(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async stop(): Promise<void> {
    if (this.#server.listening) await this.vanish();
    this.#agent.destroy();
  }

  /** All of what it was told to do wrong is forgotten. */
  heal(): void {
    this.faults.clear();
    this.rewrite = (line) => [line];
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  /** Connections of watches break; `half` sends the begin of an event before. */
  cutWatches(half = false): void {
    for (const { response } of this.#watches) {
      if (half) response.write('{"type":"ADDED","object":{"meta', () => response.destroy());
      else response.destroy();
    }
  }

  /** Watches end in peace, as they do after their time. */
  endWatches(): void {
    for (const { response } of this.#watches) response.end();
  }

  /** Something of its own in every watch. */
  tell(line: string): void {
    for (const { response } of this.#watches) response.write(`${line}\n`);
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', this.#upstream);
    const asked = { method: incoming.method ?? '', path: url.pathname, watch: url.searchParams.get('watch') === 'true' };
    this.seen.push(asked);
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const fault: Fault = [...this.faults].map((each) => each(asked)).find((each) => each !== undefined) ?? {};
    if (fault.silent) return;
    if (fault.refuse !== undefined) return answer(response, fault.refuse, fault.retryAfterSeconds);
    if (fault.delayRequestMs !== undefined) await systemClock.sleep(fault.delayRequestMs);
    const upstream = await this.#forward(url, incoming, Buffer.concat(chunks));
    if (fault.delayAnswerMs !== undefined) await systemClock.sleep(fault.delayAnswerMs);
    if (fault.lose !== undefined) {
      upstream.destroy();
      if (fault.lose === 'closed') response.destroy();
      else answer(response, fault.lose);
      return;
    }
    response.writeHead(upstream.statusCode ?? 0, upstream.headers);
    if (asked.watch) await this.#relay(asked.path, upstream, response);
    else upstream.pipe(response);
  }

  #forward(url: URL, { method, headers }: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const outgoing = request(url, { method, headers: { ...headers, host: url.host }, agent: this.#agent }, resolve);
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }

  async #relay(path: string, upstream: IncomingMessage, response: ServerResponse): Promise<void> {
    const watch = { path, response, upstream };
    this.#watches.add(watch);
    response.flushHeaders();
    response.on('close', () => {
      this.#watches.delete(watch);
      upstream.destroy();
    });
    let rest = '';
    try {
      for await (const chunk of upstream) {
        const lines = (rest + String(chunk)).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines.flatMap((each) => this.rewrite(each))) response.write(`${line}\n`);
      }
    } finally {
      response.end();
    }
  }
}

function answer(response: ServerResponse, code: number, retryAfterSeconds?: number): void {
  const headers = {
    'content-type': 'application/json',
    ...(retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }),
  };
  response.writeHead(code, headers).end(statusText(code));
}

/** As Kubernetes refuses. */
export function statusText(code: number): string {
  const reason = reasons[code] ?? 'Unknown';
  return JSON.stringify({ apiVersion: 'v1', kind: 'Status', status: 'Failure', code, reason, message: `a fault of the test: ${reason}` });
}
