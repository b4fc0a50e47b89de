/** Virtual time: milliseconds since the epoch, as a clock that is never wrong would show them. */
export interface Scheduled {
  readonly atMs: number;
  cancelled: boolean;
}

interface Entry extends Scheduled {
  order: number;
  run: () => void;
}

/** A queue of what will happen, in order of time and then of entry: a binary heap. */
export class VirtualTime {
  readonly #heap: Entry[] = [];
  #order = 0;
  #nowMs: number;

  constructor(startMs: number) {
    this.#nowMs = startMs;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  at(atMs: number, run: () => void): Scheduled {
    const entry: Entry = { atMs: Math.max(atMs, this.#nowMs), order: this.#order, run, cancelled: false };
    this.#order += 1;
    this.#push(entry);
    return entry;
  }

  after(ms: number, run: () => void): Scheduled {
    return this.at(this.#nowMs + ms, run);
  }

  /** Runs the next thing that happens not later than this. False: there is none. */
  step(untilMs: number): boolean {
    for (let entry = this.#heap[0]; entry && entry.atMs <= untilMs; entry = this.#heap[0]) {
      this.#pop();
      if (entry.cancelled) continue;
      this.#nowMs = entry.atMs;
      entry.run();
      return true;
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
    return false;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Entry;
      if (!before(entry, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
      const below = heap[child] as Entry;
      if (!before(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
