import type { Clock, Timer } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';

export interface CompactionOptions {
  clock: Clock;
  logger: Logger;
  /** How much of the past stays. */
  keepMs: number;
}

/** The part of the store that compaction needs. */
export interface Compactable {
  /** Resolves to etcd's revision of now. */
  latestRevision(): Promise<number>;
  compact(revision: number): Promise<void>;
  /** Called when the store closes. */
  onClose(callback: () => void): void;
}

const steps = 5;

/**
 * Has etcd forget what was overwritten longer ago than `keepMs`, as every kube-apiserver does for its own etcd. Each coordinator does it by itself: to forget what another has
 * forgotten already is nothing, so no election is needed, and none of them has to know the others' clocks.
 */
export function startCompaction(store: Compactable, { clock, logger, keepMs }: CompactionOptions): void {
  const seen: { atMs: number; revision: number }[] = [];
  let timer: Timer;
  let closed = false;
  const step = async (): Promise<void> => {
    try {
      const nowMs = clock.monotonicMs();
      const old = seen.filter(({ atMs }) => nowMs - atMs >= keepMs).at(-1);
      seen.push({ atMs: nowMs, revision: await store.latestRevision() });
      if (old !== undefined && old.revision > 1) await store.compact(old.revision);
      while (seen[0] !== undefined && old !== undefined && seen[0].atMs <= old.atMs) seen.shift();
    } catch (error) {
      if (!closed) logger.warn('etcd could not be compacted; trying again', { error: toEvercertError(error).message });
    }
  };
  const again = (): void => {
    timer = clock.after(keepMs / steps, () => {
      void step().finally(() => {
        if (!closed) again();
      });
    });
  };
  store.onClose(() => {
    closed = true;
    timer.cancel();
  });
  again();
}
