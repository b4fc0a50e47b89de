import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { repeat } from '../loop.ts';
import { readKubeconfig } from './kubeconfig.ts';
import { type KubernetesRequest, type KubernetesResponse, sendOnce } from './request.ts';

export interface KubernetesEndpoint {
  /** Of the node. */
  name: string;
  /** `https://HOST:PORT` */
  server: string;
  /** The node's own admin kubeconfig; what it says of the server is not used, as with `kubectl --server`. */
  kubeconfig: string;
}

export interface KubernetesLoadOptions {
  endpoints: KubernetesEndpoint[];
  clock: Clock;
  onProblem: (message: string) => void;
  /** Between the beginnings of two writes, each of which is read back; 250 by default. */
  intervalMs?: number;
  /** For each attempt; 10,000 by default. */
  deadlineMs?: number;
}

export interface EndpointStatistics {
  name: string;
  attempts: number;
  /** Attempts without a good answer: no connection, or a status that calls for another try or is wrong. */
  failed: number;
  /** Times that it was left out until it was ready again. */
  leftOut: number;
  /** Different certificates that it showed. */
  certificates: number;
}

export interface KubernetesStatistics {
  /** Writes and reads that ended, well or not. */
  requests: number;
  writes: number;
  /** Requests that needed more than one attempt. */
  retried: number;
  /** Requests that failed for a client that tries every endpoint once, and reads that brought another value than was written. */
  failed: number;
  slowestMs: number;
  /** Why an attempt failed last. */
  lastError: string | undefined;
  endpoints: EndpointStatistics[];
}

/** Keys are used in turn, many more than there can be requests under way, so that a value still stands when it is read back. */
const keyCount = 200;
const retryPauseMs = 100;
const readyPollMs = 500;
const readyDeadlineMs = 2000;

/**
 * Writes ConfigMaps and reads them back without end, as people do by kubectl: for each request the issued admin kubeconfig is read anew and a connection is made anew, through the API
 * servers in turn. A request without an answer, or with one that says "later" (429, 5xx), is tried once at each other endpoint. A write is a server-side apply, so that repeating it does no harm.
 * An endpoint that gave no answer or a 5xx is left out until its /readyz says ok, as the load balancer before API servers does it: one that just starts refuses admins whose rights it has not read yet.
 */
export class KubernetesLoad {
  readonly #options: Required<KubernetesLoadOptions>;
  readonly #abort = new AbortController();
  readonly #pending = new Set<Promise<void>>();
  /** One for each endpoint that is left out. */
  readonly #watches = new Set<Promise<void>>();
  readonly #counts = { requests: 0, writes: 0, retried: 0, failed: 0, slowestMs: 0 };
  readonly #endpoints: Endpoint[];
  #lastError: string | undefined;
  #sequence = 0;

  constructor(options: KubernetesLoadOptions) {
    if (options.endpoints.length === 0) throw new EvercertError('InvalidArgument', 'the load needs at least one API server');
    this.#options = { intervalMs: 250, deadlineMs: 10_000, ...options };
    this.#endpoints = options.endpoints.map((endpoint) => ({
      endpoint,
      attempts: 0,
      failed: 0,
      leftOut: 0,
      ready: true,
      serials: new Set(),
    }));
  }

  /** Begins in the background, until `stop`. */
  start(): void {
    this.#schedule(this.#options.clock.monotonicMs());
  }

  /** Begins no more requests, and lets those under way end: they count. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all([...this.#pending, ...this.#watches]);
  }

  statistics(): KubernetesStatistics {
    const endpoints = this.#endpoints.map(({ endpoint, attempts, failed, leftOut, serials }) => ({
      name: endpoint.name,
      attempts,
      failed,
      leftOut,
      certificates: serials.size,
    }));
    return { ...this.#counts, lastError: this.#lastError, endpoints };
  }

  /** Keeps the pace without drifting; ticks that were missed while this process was busy are left out, not made up in a burst. */
  #schedule(dueMs: number): void {
    const { clock, intervalMs } = this.#options;
    clock.after(Math.max(0, dueMs - clock.monotonicMs()), () => {
      if (this.#abort.signal.aborted) return;
      // With half of the keys under way, whoever is slow gets no more.
      if (this.#pending.size < keyCount / 2) this.#begin();
      this.#schedule(Math.max(dueMs + intervalMs, clock.monotonicMs()));
    });
  }

  #begin(): void {
    const round = this.#writeAndRead(this.#sequence++).finally(() => this.#pending.delete(round));
    this.#pending.add(round);
  }

  async #writeAndRead(sequence: number): Promise<void> {
    const name = `evercert-load-${sequence % keyCount}`;
    const path = `/api/v1/namespaces/default/configmaps/${name}`;
    const value = String(sequence);
    const write: KubernetesRequest = {
      method: 'PATCH',
      path: `${path}?fieldManager=evercert-local&force=true`,
      contentType: 'application/apply-patch+yaml',
      body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { value } },
    };
    this.#counts.writes += 1;
    if (!(await this.#request(`write ${sequence}`, sequence, write))) return;
    // Through the next server: it asks etcd, so that an older value would be a lost write.
    await this.#request(`read ${sequence}`, sequence + 1, { method: 'GET', path }, ({ body }) => storedValue(body) === value);
  }

  /** False: it failed at every endpoint, or in a way that no other try would change. */
  async #request(
    what: string,
    turn: number,
    request: KubernetesRequest,
    isRight: (response: KubernetesResponse) => boolean = () => true,
  ): Promise<boolean> {
    const { clock } = this.#options;
    const begun = clock.monotonicMs();
    const good = await this.#tryAll(what, turn, request, isRight);
    this.#counts.requests += 1;
    this.#counts.slowestMs = Math.max(this.#counts.slowestMs, Math.round(clock.monotonicMs() - begun));
    if (!good) this.#counts.failed += 1;
    return good;
  }

  async #tryAll(
    what: string,
    turn: number,
    request: KubernetesRequest,
    isRight: (response: KubernetesResponse) => boolean,
  ): Promise<boolean> {
    const { clock, deadlineMs } = this.#options;
    const count = this.#endpoints.length;
    try {
      const tried = new Set<Endpoint>();
      const first = this.#next(turn, tried);
      const credential = await readKubeconfig(first.endpoint.kubeconfig);
      for (let i = 0; i < count; i++) {
        if (i === 1) this.#counts.retried += 1;
        if (i > 0) await clock.sleep(retryPauseMs);
        const at = i === 0 ? first : this.#next(turn, tried);
        tried.add(at);
        at.attempts += 1;
        const target = { ...credential, server: at.endpoint.server };
        const outcome = await sendOnce(target, request, { clock, deadlineMs }).catch((error: unknown) => toEvercertError(error));
        if (!(outcome instanceof EvercertError)) at.serials.add(outcome.servedSerial);
        const fault = faultOf(outcome, isRight);
        if (fault === undefined) return true;
        at.failed += 1;
        this.#problem(`${what} through ${at.endpoint.name} failed: ${fault.text}`);
        if (fault.leaveOut) this.#leaveOut(at);
        if (!fault.again) return false;
      }
    } catch (error) {
      const { code, message } = toEvercertError(error);
      this.#problem(`${what} failed: ${code}: ${message}`);
    }
    return false;
  }

  /** The next in turn that was not tried yet: a ready one, where there is one. */
  #next(turn: number, tried: Set<Endpoint>): Endpoint {
    const count = this.#endpoints.length;
    const inTurn = this.#endpoints.map((_, i) => this.#endpoints[(turn + i) % count] as Endpoint).filter((each) => !tried.has(each));
    return inTurn.find(({ ready }) => ready) ?? (inTurn[0] as Endpoint);
  }

  #leaveOut(at: Endpoint): void {
    if (!at.ready) return;
    at.ready = false;
    at.leftOut += 1;
    const { clock } = this.#options;
    const over = new AbortController();
    const signal = AbortSignal.any([this.#abort.signal, over.signal]);
    const watch = repeat(clock, readyPollMs, signal, async () => {
      at.ready = await this.#isReady(at.endpoint);
      if (at.ready) over.abort();
    }).finally(() => this.#watches.delete(watch));
    this.#watches.add(watch);
  }

  async #isReady({ server, kubeconfig }: KubernetesEndpoint): Promise<boolean> {
    try {
      const credential = await readKubeconfig(kubeconfig);
      const options = { clock: this.#options.clock, deadlineMs: readyDeadlineMs };
      return (await sendOnce({ ...credential, server }, { method: 'GET', path: '/readyz' }, options)).status === 200;
    } catch (error) {
      if (error instanceof EvercertError) return false;
      throw error;
    }
  }

  #problem(text: string): void {
    this.#lastError = text;
    this.#options.onProblem(text);
  }
}

interface Endpoint {
  endpoint: KubernetesEndpoint;
  attempts: number;
  failed: number;
  leftOut: number;
  ready: boolean;
  serials: Set<string>;
}

interface Fault {
  text: string;
  /** Another try may bring an answer. */
  again: boolean;
  /** Nothing more is sent there until it says that it is ready. */
  leaveOut: boolean;
}

function faultOf(outcome: KubernetesResponse | EvercertError, isRight: (response: KubernetesResponse) => boolean): Fault | undefined {
  if (outcome instanceof EvercertError) return { text: `${outcome.code}: ${outcome.message}`, again: true, leaveOut: true };
  const { status, body } = outcome;
  if (status >= 200 && status < 300)
    return isRight(outcome) ? undefined : { text: 'another value than was written', again: false, leaveOut: false };
  return { text: `HTTP ${status} ${body.slice(0, 300)}`, again: status === 429 || status >= 500, leaveOut: status >= 500 };
}

function storedValue(body: string): string | undefined {
  return (JSON.parse(body) as { data?: { value?: string } }).data?.value;
}
