/** An API server's collection in memory, whose answers a test decides. */
import type { KubernetesApi, KubernetesObject, KubernetesRequest, WatchEvent, WatchRequest } from '@evercert/coordinator/kubernetes';
import { EvercertError } from '@evercert/shared/errors';

export interface Thing extends KubernetesObject {
  value: number;
}

interface OpenWatch {
  request: WatchRequest;
  push: (event: WatchEvent<Thing>) => void;
  /** Undefined: as the server ends it in peace. */
  end: (error?: Error) => void;
}

export function httpError(status: number, retryAfterMs?: number): EvercertError {
  const code = status === 410 ? 'FailedPrecondition' : status === 429 ? 'Overloaded' : status === 409 ? 'Conflict' : 'Unavailable';
  return new EvercertError(code, `HTTP ${status}`, { metadata: { httpStatus: String(status) }, ...(retryAfterMs && { retryAfterMs }) });
}

export class FakeApi implements Pick<KubernetesApi, 'send' | 'snapshot' | 'watch'> {
  readonly things = new Map<string, Thing>();
  readonly watches: OpenWatch[] = [];
  version = 1;
  lists = 0;
  /** What the next lists and watches fail with, in order. */
  readonly listFaults: Error[] = [];
  readonly watchFaults: Error[] = [];

  get api(): KubernetesApi {
    return this as unknown as KubernetesApi;
  }

  /** The watch that is open, or was last. */
  get watching(): OpenWatch {
    const last = this.watches.at(-1);
    if (!last) throw new Error('nobody watches');
    return last;
  }

  put(name: string, value: number, { silent = false } = {}): void {
    const metadata = { name, uid: name, resourceVersion: String(++this.version), creationTimestamp: '2026-01-01T00:00:00Z' };
    const type = this.things.has(name) ? 'MODIFIED' : 'ADDED';
    const object = { metadata, value };
    this.things.set(name, object);
    if (!silent) this.watches.at(-1)?.push({ type, object });
  }

  remove(name: string, { silent = false } = {}): void {
    const object = this.things.get(name) as Thing;
    this.things.delete(name);
    this.version += 1;
    const gone = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.version) } };
    if (!silent) this.watches.at(-1)?.push({ type: 'DELETED', object: gone });
  }

  /** Reads one. */
  async send<T>({ path }: KubernetesRequest): Promise<T> {
    const found = this.things.get(path.split('/').at(-1) ?? '');
    if (!found) throw new EvercertError('NotFound', `no ${path}`);
    return found as T;
  }

  async snapshot<T>(): Promise<{ items: T[]; resourceVersion: string }> {
    this.lists += 1;
    const fault = this.listFaults.shift();
    if (fault) throw fault;
    return { items: [...this.things.values()] as T[], resourceVersion: String(this.version) };
  }

  async *watch<T extends KubernetesObject>(request: WatchRequest): AsyncIterable<WatchEvent<T>> {
    const fault = this.watchFaults.shift();
    if (fault) throw fault;
    const events: WatchEvent<Thing>[] = [];
    let wake: () => void = () => undefined;
    let ended: { error?: Error } | undefined;
    const end = (error?: Error): void => {
      ended ??= error ? { error } : {};
      wake();
    };
    this.watches.push({
      request,
      end,
      push: (event) => {
        events.push(event);
        wake();
      },
    });
    request.signal.addEventListener('abort', () => end(new EvercertError('Cancelled', 'cancelled')), { once: true });
    request.begun?.();
    for (;;) {
      for (let event = events.shift(); event; event = events.shift()) yield event as unknown as WatchEvent<T>;
      if (ended?.error) throw ended.error;
      if (ended) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
}
