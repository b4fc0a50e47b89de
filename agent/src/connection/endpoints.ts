/** Where the coordinators are, and which of them is tried when. */
import { createHash } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { backoffMs } from '@evercert/shared/retry';
import { EndpointMemory, type EndpointMemoryOptions } from './endpoint-memory.ts';

export interface EndpointsOptions extends EndpointMemoryOptions {
  /** `HOST:PORT`s of the configuration: never given up, whatever coordinators say. */
  configured: readonly string[];
  /** Chooses which endpoint this node prefers, so that nodes spread evenly. */
  nodeName: string;
}

export interface Failure {
  /** In [0, 1), for the jitter. */
  draw: number;
  /** Longest wait before jitter, milliseconds. */
  capMs?: number | undefined;
  /** The coordinator's wish: not before. */
  hintMs?: number | undefined;
}

interface Trouble {
  failures: number;
  /** Not tried before this time while another can be, by the monotonic clock. */
  untilMs: number;
}

const defaultCapMs = 30_000;
const longestHintMs = 5 * 60_000;

/**
 * The endpoints of the configuration and those that coordinators have named. Each node prefers another of them, by a hash of both names: of N coordinators each gets about an Nth of
 * the nodes, and one more takes its share from all the others. One that failed is left alone for a while, longer each time, unless there is no other.
 */
export class Endpoints {
  readonly #configured: readonly string[];
  readonly #nodeName: string;
  readonly #clock: Clock;
  readonly #memory: EndpointMemory;
  readonly #trouble = new Map<string, Trouble>();
  #preferred: readonly string[];

  constructor(options: EndpointsOptions) {
    this.#configured = options.configured;
    this.#nodeName = options.nodeName;
    this.#clock = options.clock;
    this.#memory = new EndpointMemory(options);
    this.#preferred = this.#sorted();
  }

  /** Reads what an earlier run has learned. Errors: FileSystem. */
  async load(): Promise<void> {
    await this.#memory.load();
    this.#preferred = this.#sorted();
  }

  /** Coordinators that serve now, as one of them says. What is no endpoint is not taken in. */
  learn(named: readonly string[]): void {
    this.#memory.learn(named);
    this.#preferred = this.#sorted();
    for (const endpoint of this.#trouble.keys()) if (!this.#preferred.includes(endpoint)) this.#trouble.delete(endpoint);
  }

  /** Resolves when what was learned is on disk. */
  flush(): Promise<void> {
    return this.#memory.flush();
  }

  /** All of them, the one that this node prefers first. */
  all(): readonly string[] {
    return this.#preferred;
  }

  /** All of them in the order in which they are worth a try: those that are not left alone for now first. */
  order(): string[] {
    const nowMs = this.#clock.monotonicMs();
    const rank = (endpoint: string): [number, number] => {
      const trouble = this.#trouble.get(endpoint);
      return [Math.max(0, (trouble?.untilMs ?? 0) - nowMs), trouble?.failures ?? 0];
    };
    // Stable: among equals the preferred one stays first.
    return [...this.#preferred].sort((a, b) => rank(a)[0] - rank(b)[0] || rank(a)[1] - rank(b)[1]);
  }

  /** Those that may be tried at once, but for one; the preferred first. */
  free(but: string): string[] {
    return this.#preferred.filter((endpoint) => endpoint !== but && this.#waitMs(endpoint) === 0);
  }

  /** The one to be tried next, and how long it is to be left alone yet. */
  next(): { endpoint: string; waitMs: number } {
    const endpoint = this.order()[0] ?? '';
    return { endpoint, waitMs: this.#waitMs(endpoint) };
  }

  worked(endpoint: string): void {
    this.#trouble.delete(endpoint);
  }

  failed(endpoint: string, { draw, capMs = defaultCapMs, hintMs = 0 }: Failure): void {
    if (!this.#preferred.includes(endpoint)) return;
    const failures = (this.#trouble.get(endpoint)?.failures ?? 0) + 1;
    const waitMs = backoffMs({ attempt: failures, draw, capMs, hintMs: Math.min(hintMs, longestHintMs) });
    this.#trouble.set(endpoint, { failures, untilMs: this.#clock.monotonicMs() + waitMs });
  }

  #waitMs(endpoint: string): number {
    return Math.max(0, (this.#trouble.get(endpoint)?.untilMs ?? 0) - this.#clock.monotonicMs());
  }

  #sorted(): string[] {
    const all = new Set([...this.#configured, ...this.#memory.endpoints]);
    const weights = new Map([...all].map((endpoint) => [endpoint, weight(this.#nodeName, endpoint)]));
    return [...all].sort((a, b) => ((weights.get(a) ?? '') > (weights.get(b) ?? '') ? -1 : 1));
  }
}

/** Highest random weight hashing (Thaler and Ravishankar, 1998): of any set of endpoints, the one with the highest weight. */
function weight(nodeName: string, endpoint: string): string {
  return createHash('sha256').update(`${nodeName}\0${endpoint}`).digest('hex');
}
