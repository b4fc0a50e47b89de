import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { systemClock } from '@evercert/shared/clock';

/** More than this part of the machine used by others makes a measured time say nothing. */
const busyShare = 0.1;
/** USER_HZ: what /proc counts in (proc(5)); 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

/** Tells whether processes other than this one and its ended children were busy since the object was made. Without Linux' /proc: always. */
export class OthersLoad {
  readonly #startMs = systemClock.monotonicMs();
  readonly #start = usedTicks();

  isBusy(): boolean {
    const end = usedTicks();
    if (this.#start === undefined || end === undefined) return true;
    const others = end.machine - this.#start.machine - (end.own - this.#start.own);
    const capacity = ((systemClock.monotonicMs() - this.#startMs) / 1000) * ticksPerSecond * availableParallelism();
    return others > capacity * busyShare;
  }
}

function usedTicks(): { machine: number; own: number } | undefined {
  if (!existsSync('/proc/stat') || !existsSync('/proc/self/stat')) return undefined;
  // First line of /proc/stat: cpu user nice system idle iowait irq softirq steal …; steal is others' work too.
  const [, user, nice, system, , , irq, softirq, steal] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '')
    .split(/\s+/)
    .map(Number);
  // After the command's closing bracket: state is field 3; utime, stime, cutime, cstime are fields 14 to 17.
  const self = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1)?.split(' ').map(Number) ?? [];
  const sum = (values: (number | undefined)[]): number => values.reduce<number>((all, value) => all + (value ?? 0), 0);
  return { machine: sum([user, nice, system, irq, softirq, steal]), own: sum(self.slice(11, 15)) };
}
