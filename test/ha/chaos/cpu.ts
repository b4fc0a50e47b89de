/** How much CPU the parts of a run use, by the operating system's own account (proc_pid_stat(5)). */
import { readFileSync } from 'node:fs';
import { pause } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';

export type Part = 'coordinators' | 'etcd' | 'agents';

const sampleMs = 1000;
const ticksPerSecond = 100;

export class CpuMeter {
  readonly seconds: Record<Part, number> = { coordinators: 0, etcd: 0, agents: 0 };
  readonly #pids: () => Record<Part, (number | undefined)[]>;
  readonly #last = new Map<number, number>();

  constructor(pids: () => Record<Part, (number | undefined)[]>) {
    this.#pids = pids;
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    // What was used before counts for nothing.
    this.#sample();
    for (const part of parts) this.seconds[part] = 0;
    while (!signal.aborted) {
      await pause(systemClock, sampleMs, signal);
      this.#sample();
    }
  }

  #sample(): void {
    const pids = this.#pids();
    for (const part of parts) {
      for (const pid of pids[part]) {
        const used = pid === undefined ? undefined : ticksOf(pid);
        if (pid === undefined || used === undefined) continue;
        this.seconds[part] += Math.max(0, used - (this.#last.get(pid) ?? 0)) / ticksPerSecond;
        this.#last.set(pid, used);
      }
    }
  }
}

const parts = ['coordinators', 'etcd', 'agents'] as const;

/** Of a process and its ended children; undefined: there is none. */
function ticksOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    // It was killed a moment ago.
    return undefined;
  }
}
