import type { IncomingMessage } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import type { Clock } from '@evercert/shared/clock';
import { describeError, type ErrorCode, EvercertError } from '@evercert/shared/errors';
import { visibleLine } from '@evercert/shared/text';
import type { KubeConfig } from '@kubernetes/client-node';
import type { List } from './objects.ts';

export interface KubernetesRequest {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** From `/api` or `/apis` on; parts that are names are escaped. */
  path: string;
  query?: Record<string, string>;
  body?: object;
  /** The body holds a secret: nothing that the server says of it is repeated. */
  secret?: boolean;
}

/** An API server, with the credentials of one kubeconfig. */
export interface KubernetesApi {
  /**
   * The answer as the server gave it. A PATCH is a JSON merge patch (RFC 7386). Errors: NotFound, AlreadyExists, Conflict, PermissionDenied, Unauthenticated, InvalidArgument, Overloaded
   * (HTTP 429, with its Retry-After), Unavailable, DeadlineExceeded (no answer in time), Cancelled.
   */
  send<T>(request: KubernetesRequest): Promise<T>;
  /** Every object of a collection, in pages. */
  list<T>(path: string, query?: Record<string, string>): Promise<T[]>;
}

export interface ConnectOptions {
  /** Undefined: the service account of the pod in which this runs. */
  kubeconfig: string | undefined;
  requestTimeoutMs: number;
  signal: AbortSignal;
  clock: Clock;
}

const maxAnswerBytes = 64 * 1024 * 1024;
const pageSize = 500;
const maxObjects = 100_000;
const maxMessage = 500;

/** Reads the kubeconfig and opens nothing yet. Errors: FailedPrecondition where there are no credentials. */
export async function connect(options: ConnectOptions): Promise<KubernetesApi> {
  const credentials = await loadCredentials(options.kubeconfig);
  const server = credentials.getCurrentCluster()?.server ?? '';
  if (!URL.canParse(server) || new URL(server).protocol !== 'https:')
    throw new EvercertError(
      'FailedPrecondition',
      `${options.kubeconfig ?? 'the service account'} names "${server}" as its API server; expected a URL that begins with https://`,
    );
  const send = async <T>(call: KubernetesRequest): Promise<T> => {
    const { status, retryAfterMs, text } = await exchange(credentials, server, call, options);
    const answer = parse(text);
    if (status >= 200 && status < 300 && answer !== undefined) return answer as T;
    throw refusal(call, status, answer, retryAfterMs);
  };
  return {
    send,
    async list<T>(path: string, query: Record<string, string> = {}) {
      const items: T[] = [];
      for (let next = ''; ; ) {
        const page = await send<List<T>>({
          method: 'GET',
          path,
          query: { ...query, limit: String(pageSize), ...(next === '' ? {} : { continue: next }) },
        });
        items.push(...page.items);
        next = page.metadata.continue ?? '';
        if (next === '') return items;
        if (items.length >= maxObjects) throw new EvercertError('FailedPrecondition', `${path} has more than ${maxObjects} objects`);
      }
    },
  };
}

/** Kubernetes' own client brings some 80 MB into memory: only those who replace by Cluster API pay for it, and only when the first action comes. */
async function loadCredentials(path: string | undefined): Promise<KubeConfig> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const credentials = new KubeConfig();
  if (path === undefined) {
    if (process.env['KUBERNETES_SERVICE_HOST'] === undefined)
      throw new EvercertError(
        'FailedPrecondition',
        'the coordinator does not run in a Kubernetes cluster: set `kubeconfig` of the cluster-api provisioner',
      );
    credentials.loadFromCluster();
    return credentials;
  }
  try {
    credentials.loadFromFile(path);
  } catch (error) {
    throw new EvercertError('FailedPrecondition', `the kubeconfig ${path} cannot be used: ${describeError(error)}`, { cause: error });
  }
  return credentials;
}

interface Answer {
  status: number;
  retryAfterMs: number | undefined;
  text: string;
}

async function exchange(credentials: KubeConfig, server: string, call: KubernetesRequest, options: ConnectOptions): Promise<Answer> {
  const timeout = new AbortController();
  const timer = options.clock.after(options.requestTimeoutMs, () => timeout.abort());
  const signal = AbortSignal.any([options.signal, timeout.signal]);
  const url = new URL(server.replace(/\/+$/, '') + call.path);
  for (const [name, value] of Object.entries(call.query ?? {})) url.searchParams.set(name, value);
  try {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const outgoing: RequestOptions = {
      method: call.method,
      signal,
      headers: {
        accept: 'application/json',
        'user-agent': 'evercert-coordinator',
        ...(body === undefined
          ? {}
          : {
              'content-type': call.method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
              'content-length': String(Buffer.byteLength(body)),
            }),
      },
    };
    await credentials.applyToHTTPSOptions(outgoing);
    return await roundTrip(url, outgoing, body);
  } catch (error) {
    if (options.signal.aborted) throw new EvercertError('Cancelled', 'the call to Kubernetes was cancelled', { cause: error });
    if (timeout.signal.aborted)
      throw new EvercertError('DeadlineExceeded', `${url.host} did not answer within ${options.requestTimeoutMs / 1000} s`);
    if (error instanceof EvercertError) throw error;
    throw new EvercertError('Unavailable', `the API server ${url.host} cannot be reached: ${describeError(error)}`, { cause: error });
  } finally {
    timer.cancel();
  }
}

function roundTrip(url: URL, options: RequestOptions, body: string | undefined): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, options, (response) => {
      read(response).then((text) => {
        const seconds = Number(response.headers['retry-after']);
        resolve({
          status: response.statusCode ?? 0,
          retryAfterMs: Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : undefined,
          text,
        });
      }, reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

async function read(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxAnswerBytes) {
      response.destroy();
      throw new EvercertError('Internal', `the API server answers with more than ${maxAnswerBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Told by the caller with the status, which says more.
    return undefined;
  }
}

const codes: Record<number, ErrorCode> = {
  400: 'InvalidArgument',
  401: 'Unauthenticated',
  403: 'PermissionDenied',
  404: 'NotFound',
  409: 'Conflict',
  422: 'InvalidArgument',
  429: 'Overloaded',
};

/** A `Status` object (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/) as an error. */
function refusal(call: KubernetesRequest, status: number, answer: unknown, retryAfterMs: number | undefined): EvercertError {
  const { reason, message } = statusOf(answer);
  const code = reason === 'AlreadyExists' ? 'AlreadyExists' : (codes[status] ?? (status >= 500 ? 'Unavailable' : 'Internal'));
  const what = call.secret ? '' : `: ${visibleLine(message).slice(0, maxMessage)}`;
  const help = status === 401 || status === 403 ? '; the roles that are needed are in deploy/kubernetes/cluster-api-rbac.yaml' : '';
  return new EvercertError(code, `Kubernetes refused ${call.method} ${call.path} (HTTP ${status} ${reason})${what}${help}`, {
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    metadata: { httpStatus: String(status), reason },
  });
}

function statusOf(answer: unknown): { reason: string; message: string } {
  const status = (answer ?? {}) as { kind?: unknown; reason?: unknown; message?: unknown };
  return {
    reason: typeof status.reason === 'string' ? status.reason : 'Unknown',
    message: typeof status.message === 'string' ? status.message : 'no message',
  };
}

/** The result, or undefined where the object is not there. */
export async function unlessMissing<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof EvercertError && error.code === 'NotFound') return undefined;
    throw error;
  }
}
