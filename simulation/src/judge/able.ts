/** When something was so, in true time. */
export class AbleTimes {
  readonly #intervals: { fromMs: number; untilMs: number }[] = [];
  #sinceMs: number | undefined;

  note(able: boolean, nowMs: number): void {
    if (able) this.#sinceMs ??= nowMs;
    else if (this.#sinceMs !== undefined) {
      this.#intervals.push({ fromMs: this.#sinceMs, untilMs: nowMs });
      this.#sinceMs = undefined;
    }
  }

  /** Without a break until now; undefined: it is not able just now. */
  get sinceMs(): number | undefined {
    return this.#sinceMs;
  }

  /** How much of the time between the two. */
  between(fromMs: number, untilMs: number): number {
    let sum = this.#sinceMs === undefined ? 0 : Math.max(0, untilMs - Math.max(fromMs, this.#sinceMs));
    for (const interval of this.#intervals) {
      sum += Math.max(0, Math.min(untilMs, interval.untilMs) - Math.max(fromMs, interval.fromMs));
    }
    return sum;
  }
}
