import type { Clock } from '@evercert/shared/clock';
import type { Revocations } from '../../revocation/index.ts';

/** Counting reads every certificate of the cluster: not oftener than this. */
const leastMs = 5000;

export interface Counted {
  /** Certificates, not expired, by the object that matches them. */
  byObject: ReadonlyMap<string, number>;
  /** When the counting began. */
  atMs: number;
}

/** How many live certificates each object of a cluster matches. */
export class MatchCounts {
  readonly #cluster: string;
  readonly #revocations: Pick<Revocations, 'live' | 'matchIssued'>;
  readonly #clock: Clock;
  #last: { counted: Promise<Counted>; beganAt: number } | undefined;

  constructor({ cluster, revocations, clock }: { cluster: string; revocations: Pick<Revocations, 'live' | 'matchIssued'>; clock: Clock }) {
    this.#cluster = cluster;
    this.#revocations = revocations;
    this.#clock = clock;
  }

  /** At most five seconds old. */
  async counts(): Promise<Counted> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#last === undefined || nowMs - this.#last.beganAt >= leastMs) this.#last = { counted: this.#count(), beganAt: nowMs };
    const { counted } = this.#last;
    try {
      return await counted;
    } catch (error) {
      this.#last = undefined;
      throw error;
    }
  }

  async #count(): Promise<Counted> {
    const atMs = this.#clock.nowMs();
    const byObject = new Map<string, number>();
    for await (const certificate of this.#revocations.live(this.#cluster)) {
      const objects = new Set(this.#revocations.matchIssued(certificate).map(({ object }) => object));
      for (const object of objects) byObject.set(object, (byObject.get(object) ?? 0) + 1);
    }
    return { byObject, atMs };
  }
}
