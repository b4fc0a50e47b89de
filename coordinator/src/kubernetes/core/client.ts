import type { IncomingMessage } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import { readText } from '@evercert/shared/http';
import { Credentials, type Endpoint } from './credentials.ts';
import { refusalError } from './errors.ts';
import type { KubernetesObject, List, WatchEvent } from './objects.ts';
import { jsonLines } from './watch-stream.ts';

export interface KubernetesRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** From `/api` or `/apis` on; parts that are names are escaped. */
  path: string;
  query?: Record<string, string>;
  body?: object;
  /** The body holds a secret: nothing that the server says of it is repeated. */
  secret?: boolean;
}

export interface Snapshot<T> {
  items: T[];
  /** From which a watch goes on. */
  resourceVersion: string;
}

export interface WatchRequest {
  path: string;
  query?: Record<string, string>;
  resourceVersion: string;
  /** The server ends the watch after so long; a connection that lives on longer is taken for dead. */
  timeoutSeconds: number;
  signal: AbortSignal;
  /** Called when the server has begun the watch, which may tell nothing for long. */
  begun?: () => void;
}

/** An API server, with the credentials of one kubeconfig. */
export interface KubernetesApi {
  /**
   * The answer as the server gave it. A PATCH is a JSON merge patch (RFC 7386). Errors: NotFound, AlreadyExists, Conflict, PermissionDenied, Unauthenticated, InvalidArgument, Overloaded
   * (HTTP 429, with its Retry-After), FailedPrecondition (HTTP 410, see `isGone`; or no usable kubeconfig), Unavailable, DeadlineExceeded (no answer in time), Cancelled.
   */
  send<T>(request: KubernetesRequest): Promise<T>;
  /** Every object of a collection, in pages. */
  list<T>(path: string, query?: Record<string, string>): Promise<T[]>;
  /** The same, with the version at which it is complete. */
  snapshot<T>(path: string, query?: Record<string, string>): Promise<Snapshot<T>>;
  /** Changes after a version, bookmarks included, until the server ends the watch. Errors: as `send`; `isGone` where the history has been compacted. */
  watch<T extends KubernetesObject>(request: WatchRequest): AsyncIterable<WatchEvent<T>>;
}

export interface ConnectOptions {
  /** Undefined: the service account of the pod in which this runs. */
  kubeconfig: string | undefined;
  /** For one request; of a watch, until it begins. */
  requestTimeoutMs: number;
  signal: AbortSignal;
  clock: Clock;
  /** File that tells the roles that are needed, for messages. */
  roles: string;
  /** Called with the server's URL whenever it has answered, whatever it said. */
  answered?: (server: string) => void;
}

const maxAnswerBytes = 64 * 1024 * 1024;
const pageSize = 500;
const maxObjects = 100_000;

/** For as long as the signal lasts. Opens nothing yet: what is wrong with the kubeconfig is told by each call, until it is put right. */
export function openKubernetesApi(options: ConnectOptions): KubernetesApi {
  const credentials = new Credentials(options.kubeconfig, true);
  options.signal.addEventListener('abort', () => credentials.close(), { once: true });
  return new HttpsApi(credentials, options);
}

/** For one action, after a first look at the kubeconfig. Errors: FailedPrecondition where there are no credentials. */
export async function connect(options: ConnectOptions): Promise<KubernetesApi> {
  const credentials = new Credentials(options.kubeconfig, false);
  await credentials.endpoint();
  return new HttpsApi(credentials, options);
}

class HttpsApi implements KubernetesApi {
  readonly #credentials: Credentials;
  readonly #options: ConnectOptions;

  constructor(credentials: Credentials, options: ConnectOptions) {
    this.#credentials = credentials;
    this.#options = options;
  }

  async send<T>(call: KubernetesRequest): Promise<T> {
    const { response, url } = await this.#open(call, this.#options.signal, async (incoming) => ({
      response: { status: incoming.statusCode ?? 0, retryAfterMs: retryAfterOf(incoming), text: await read(incoming) },
    }));
    const answer = parse(response.text);
    const { status, retryAfterMs } = response;
    if (status >= 200 && status < 300 && answer !== undefined) return answer as T;
    throw this.#refusal(`${call.method} ${url.pathname}`, status, answer, retryAfterMs, call.secret);
  }

  async list<T>(path: string, query: Record<string, string> = {}): Promise<T[]> {
    return (await this.snapshot<T>(path, query)).items;
  }

  async snapshot<T>(path: string, query: Record<string, string> = {}): Promise<Snapshot<T>> {
    const items: T[] = [];
    for (let next = ''; ; ) {
      const page = await this.send<List<T>>({
        method: 'GET',
        path,
        query: { ...query, limit: String(pageSize), ...(next === '' ? {} : { continue: next }) },
      });
      items.push(...(page.items ?? []));
      next = page.metadata.continue ?? '';
      if (next === '') return { items, resourceVersion: page.metadata.resourceVersion ?? '' };
      if (items.length >= maxObjects) throw new EvercertError('FailedPrecondition', `${path} has more than ${maxObjects} objects`);
    }
  }

  async *watch<T extends KubernetesObject>(call: WatchRequest): AsyncIterable<WatchEvent<T>> {
    const { path, resourceVersion, timeoutSeconds } = call;
    const over = new AbortController();
    const deadlineMs = timeoutSeconds * 1000 + this.#options.requestTimeoutMs;
    const timer = this.#options.clock.after(deadlineMs, () => over.abort());
    const signal = AbortSignal.any([this.#options.signal, call.signal, over.signal]);
    const query = {
      ...call.query,
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion,
      timeoutSeconds: String(timeoutSeconds),
    };
    try {
      const { response: incoming } = await this.#open({ method: 'GET', path, query }, signal, async (response) => ({ response }));
      const status = incoming.statusCode ?? 0;
      if (status !== 200) throw this.#refusal(`to watch ${path}`, status, parse(await read(incoming)), retryAfterOf(incoming));
      call.begun?.();
      for await (const event of jsonLines(incoming)) {
        const { type, object } = event as { type: string; object: T & { code?: number } };
        if (type === 'ERROR') throw this.#refusal(`to go on with the watch on ${path}`, object.code ?? 500, object, undefined);
        yield { type: type as WatchEvent<T>['type'], object };
      }
    } catch (error) {
      if (this.#options.signal.aborted || call.signal.aborted)
        throw new EvercertError('Cancelled', 'the watch was cancelled', { cause: error });
      if (over.signal.aborted) throw new EvercertError('DeadlineExceeded', `the watch on ${path} did not end after ${timeoutSeconds} s`);
      throw unavailable(`the watch on ${path} broke off`, error);
    } finally {
      timer.cancel();
      // Whoever leaves the loop early leaves no connection behind.
      over.abort();
    }
  }

  /** Sends a request and has `take` see the answer; both within the time limit. */
  async #open<R extends { response: unknown }>(
    call: KubernetesRequest,
    signal: AbortSignal,
    take: (response: IncomingMessage) => Promise<R>,
  ): Promise<R & { url: URL }> {
    const { clock, requestTimeoutMs, answered } = this.#options;
    const timeout = new AbortController();
    const timer = clock.after(requestTimeoutMs, () => timeout.abort());
    let endpoint: Endpoint | undefined;
    try {
      endpoint = await this.#credentials.endpoint();
      const url = new URL(endpoint.server + call.path);
      for (const [name, value] of Object.entries(call.query ?? {})) url.searchParams.set(name, value);
      const body = call.body === undefined ? undefined : JSON.stringify(call.body);
      const outgoing = optionsOf(call.method, body, AbortSignal.any([signal, timeout.signal]));
      await endpoint.apply(outgoing);
      const taken = await roundTrip(url, outgoing, body, take);
      answered?.(endpoint.server);
      return { ...taken, url };
    } catch (error) {
      if (signal.aborted) throw new EvercertError('Cancelled', 'the call to Kubernetes was cancelled', { cause: error });
      const host = endpoint === undefined ? 'the API server' : new URL(endpoint.server).host;
      if (timeout.signal.aborted) throw new EvercertError('DeadlineExceeded', `${host} did not answer within ${requestTimeoutMs / 1000} s`);
      throw unavailable(`${endpoint === undefined ? host : `the API server ${host}`} cannot be reached`, error);
    } finally {
      timer.cancel();
    }
  }

  #refusal(what: string, status: number, answer: unknown, retryAfterMs: number | undefined, secret?: boolean): EvercertError {
    return refusalError({ what, status, answer, retryAfterMs, secret, roles: this.#options.roles });
  }
}

function optionsOf(method: string, body: string | undefined, signal: AbortSignal): RequestOptions {
  const content = {
    'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
    'content-length': String(Buffer.byteLength(body ?? '')),
  };
  return {
    method,
    signal,
    headers: { accept: 'application/json', 'user-agent': 'evercert-coordinator', ...(body === undefined ? {} : content) },
  };
}

function unavailable(what: string, error: unknown): EvercertError {
  if (error instanceof EvercertError) return error;
  return new EvercertError('Unavailable', `${what}: ${describeError(error)}`, { cause: error });
}

function roundTrip<R>(
  url: URL,
  options: RequestOptions,
  body: string | undefined,
  take: (response: IncomingMessage) => Promise<R>,
): Promise<R> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, options, (response) => {
      take(response).then(resolve, reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

function retryAfterOf(response: IncomingMessage): number | undefined {
  const seconds = Number(response.headers['retry-after']);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : undefined;
}

function read(response: IncomingMessage): Promise<string> {
  return readText(
    response,
    maxAnswerBytes,
    () => new EvercertError('Internal', `the API server answers with more than ${maxAnswerBytes} bytes`),
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Told by the caller with the status, which says more.
    return undefined;
  }
}
