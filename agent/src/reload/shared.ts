/** Several certificates of one component often change together: their reloads become one. */
import type { Clock } from '@evercert/shared/clock';
import type { ReloadSpec } from '@evercert/shared/manifest';
import type { Reloader } from './reloader.ts';

/** Others may join a reload for so long before it starts. */
const gatherMs = 250;

/** A reloader that runs equal reloads one at a time and lets whoever asks before the start share one run. */
export function shareReloads(reload: Reloader, clock: Clock): Reloader {
  const waiting = new Map<string, Promise<void>>();
  const running = new Map<string, Promise<void>>();
  return (spec: ReloadSpec) => {
    const key = JSON.stringify(spec);
    const joined = waiting.get(key);
    if (joined !== undefined) return joined;
    const next = (async () => {
      await clock.sleep(gatherMs);
      // A run that began before this request may have read the files too early: it does not count, and its failure is for those who asked for it.
      await running.get(key)?.catch(() => {});
      waiting.delete(key);
      const run = reload(spec);
      running.set(key, run);
      try {
        await run;
      } finally {
        if (running.get(key) === run) running.delete(key);
      }
    })();
    waiting.set(key, next);
    return next;
  };
}
