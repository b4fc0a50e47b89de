/** Kills a coordinator or an etcd member every so often, by a seeded draw, and starts it again a few seconds later. */
import { pause, waitUntil } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Coordinators } from '../../support/coordinators.ts';

export interface Kill {
  atMs: number;
  /** `coordinator-2`, `m1`. */
  what: string;
  /** It led, when it was killed: the coordinators, or etcd's members. */
  led: boolean;
  /** Until it served again, milliseconds; undefined: not by the end. */
  backAfterMs?: number;
}

export interface KillerOptions {
  coordinators: Coordinators;
  random: () => number;
  everyMs: number;
  /** Down for so long at least and at most. */
  downMs: [number, number];
  tell: (text: string) => void;
}

const backTimeoutMs = 60_000;

export class Killer {
  readonly kills: Kill[] = [];
  /** What could not be brought back: the run is worth nothing then. */
  readonly troubles: string[] = [];
  readonly #options: KillerOptions;
  readonly #restarts = new Set<Promise<void>>();
  /** Indexes of coordinators that are down, or do not serve again yet. */
  readonly #coordinatorsDown = new Set<number>();
  /** Index of the etcd member that is down, or not healthy again: no other is killed meanwhile. */
  #memberDown: number | undefined;

  constructor(options: KillerOptions) {
    this.#options = options;
  }

  /** Until the signal aborts; resolves when everything that was killed is back. */
  async run(signal: AbortSignal): Promise<void> {
    const { everyMs } = this.#options;
    for (;;) {
      await pause(systemClock, everyMs, signal);
      if (signal.aborted) break;
      await this.#kill();
    }
    await Promise.all(this.#restarts);
  }

  async #kill(): Promise<void> {
    const { coordinators, random, downMs, tell } = this.#options;
    const count = coordinators.all.length;
    const draw = Math.floor(random() * (count + coordinators.etcd.endpoints.length));
    // Two draws each time, so that the seed decides and not the state of the run.
    const down = downMs[0] + random() * (downMs[1] - downMs[0]);
    const member = draw < count ? undefined : draw - count;
    if (member === undefined) {
      await this.#killCoordinator(draw, down);
      return;
    }
    const { etcd } = coordinators;
    const { name } = etcd.endpoints[member]!;
    if (this.#memberDown !== undefined) return tell(`${name} is spared: another member is not healthy yet`);
    this.#memberDown = member;
    const led = (await etcd.leader()) === member;
    const back = async (): Promise<void> => {
      await etcd.start(member);
      await etcd.untilHealthy(undefined, backTimeoutMs);
      this.#memberDown = undefined;
    };
    await this.#down(name, led, down, () => etcd.kill(member), back);
  }

  async #killCoordinator(index: number, downMs: number): Promise<void> {
    const { coordinators, tell } = this.#options;
    const { process } = coordinators.all[index]!;
    const down = this.#coordinatorsDown;
    if (down.has(index)) return tell(`${process.name} is spared: it does not serve again yet`);
    if (down.size === coordinators.all.length - 1) return tell(`${process.name} is spared: no other serves`);
    down.add(index);
    const led = (await coordinators.leader()) === index;
    const back = async (): Promise<void> => {
      await coordinators.start(index);
      down.delete(index);
    };
    await this.#down(process.name, led, downMs, () => coordinators.kill(index), back);
  }

  async #down(what: string, led: boolean, downMs: number, kill: () => Promise<void>, back: () => Promise<void>): Promise<void> {
    const { tell } = this.#options;
    const one: Kill = { atMs: systemClock.nowMs(), what, led };
    this.kills.push(one);
    tell(`killed ${what}${led ? ', which led' : ''}`);
    await kill();
    const beganMs = systemClock.monotonicMs();
    const restart = systemClock
      .sleep(downMs)
      .then(back)
      .then(
        () => {
          one.backAfterMs = Math.round(systemClock.monotonicMs() - beganMs);
          tell(`${what} is back after ${(one.backAfterMs / 1000).toFixed(1)} s`);
        },
        (error: unknown) => {
          this.troubles.push(`${what} did not come back: ${describeError(error)}`);
        },
      )
      .finally(() => this.#restarts.delete(restart));
    this.#restarts.add(restart);
  }
}

/** All coordinators serve and one leads, all members are healthy. */
export async function untilWhole(coordinators: Coordinators): Promise<void> {
  await coordinators.etcd.untilHealthy();
  for (const [index, { process }] of coordinators.all.entries()) if (!process.running) await coordinators.start(index);
  await waitUntil(systemClock, async () => (await coordinators.instances()).length === coordinators.all.length, {
    timeoutMs: backTimeoutMs,
    what: 'all coordinators to be told of',
  });
  await coordinators.untilLeading();
}
