/** Several certificates of one component often change together: their reloads become one. */
import type { Clock } from '@evercert/shared/clock';
import type { ReloadSpec } from '@evercert/shared/manifest';
import type { Reloader, ReloadRequest } from './types.ts';

/** Others may join a reload for so long before it starts. */
const gatherMs = 250;

/** A reloader that runs equal reloads one at a time and lets whoever asks before the start share one run. */
export function shareReloads(reload: Reloader, clock: Clock): Reloader {
  const waiting = new Map<string, { done: Promise<void>; request: ReloadRequest }>();
  const running = new Map<string, Promise<void>>();
  return (spec: ReloadSpec, request = {}) => {
    const key = JSON.stringify(spec);
    const joined = waiting.get(key);
    if (joined !== undefined) {
      join(joined.request, request);
      return joined.done;
    }
    const shared = join({}, request);
    const next = (async () => {
      await clock.sleep(gatherMs);
      // A run that began before this request may have read the files too early: it does not count, and its failure is for those who asked for it.
      await running.get(key)?.catch(() => {});
      waiting.delete(key);
      const run = reload(spec, shared);
      running.set(key, run);
      try {
        await run;
      } finally {
        if (running.get(key) === run) running.delete(key);
      }
    })();
    waiting.set(key, { done: next, request: shared });
    return next;
  };
}

/** Nobody's signal: whoever is not interested any more must not end it for the others. The shortest life counts. */
function join(shared: ReloadRequest, { lifeLeftMs, verify }: ReloadRequest): ReloadRequest {
  if (lifeLeftMs !== undefined) shared.lifeLeftMs = Math.min(lifeLeftMs, shared.lifeLeftMs ?? lifeLeftMs);
  if (verify !== undefined) shared.verify ??= verify;
  return shared;
}
