/**
 * Has kubelet stop a static pod and start it anew, with no container tool: the manifest goes out of kubelet's folder until the pod has ended, and back. Touching the file or deleting
 * the mirror pod would do nothing.
 */
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { backoffMs } from '@evercert/shared/retry';
import type { EventSink } from '../events.ts';
import { KeyedLock } from '../state/keyed-lock.ts';
import type { StaticPodFiles } from './static-pod-files.ts';
import { type ComponentWatch, componentOf } from './types.ts';

export type StaticPodReload = Extract<ReloadSpec, { type: 'static-pod' }>;

export interface StaticPodsOptions {
  files: StaticPodFiles;
  /** How often kubelet looks at its folder without being told (`fileCheckFrequency`, 20 s by default), milliseconds. */
  fileCheckMs: number;
  clock: Clock;
  logger: Logger;
  events: EventSink;
  /** Begins to watch a pod's main process: what runs now is what is to end. Errors: ReloadFailed. */
  watch: (watch: string) => Promise<ComponentWatch>;
}

/** Above kubelet's own period, as a part of it: it has looked once for certain. */
const margin = 0.1;
const pollMs = 100;
/** A manifest that cannot be put back is tried again between these. */
const putBackBounds = { baseMs: 250, capMs: 10_000 };

export class StaticPods {
  readonly #options: StaticPodsOptions;
  readonly #lock = new KeyedLock();
  readonly #stopped = new AbortController();
  /** Names of manifests that a restart has out just now. */
  readonly #out = new Set<string>();
  readonly #running = new Set<Promise<void>>();

  constructor(options: StaticPodsOptions) {
    this.#options = options;
  }

  /** Before anything else at start: what a crash left out goes back. Returns what it did, one line each. */
  async recover(): Promise<string[]> {
    const swept = (await this.#options.files.sweep()).map((path) => `a file that a crash left half written was removed: ${path}`);
    return [...(await this.#options.files.recover()), ...swept];
  }

  /** Puts back whatever should not be out: what an earlier try could not. */
  async scan(): Promise<void> {
    for (const line of await this.#options.files.recover((name) => this.#out.has(name)))
      this.#options.events.record({ reason: 'StaticPodPutBack', type: 'Warning', message: line });
  }

  /**
   * Resolves when the pod has ended and, where it is watched, the next one serves. Errors: ReloadFailed, PathNotAllowed, FileSystem; Cancelled when the agent stops or the signal
   * aborts. Whatever happens, the manifest is back in its place by then.
   */
  restart(spec: StaticPodReload, signal?: AbortSignal): Promise<void> {
    const stop = signal ? AbortSignal.any([signal, this.#stopped.signal]) : this.#stopped.signal;
    const run = this.#lock.run(spec.manifestPath, () => this.#restart(spec, stop));
    this.#running.add(run);
    return run.finally(() => this.#running.delete(run));
  }

  /** Puts back what is out and waits for it; nothing is begun any more. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.allSettled(this.#running);
  }

  async #restart(spec: StaticPodReload, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw new EvercertError('Cancelled', 'the agent stops');
    const { clock, logger } = this.#options;
    const watch = spec.watch === undefined ? undefined : await this.#options.watch(spec.watch);
    const component = componentOf(spec);
    const startMs = clock.monotonicMs();
    logger.info('A static pod is started anew', { component, manifest: spec.manifestPath, method: spec.method });
    const there = spec.method === 'move' ? await this.#moveOutAndBack(spec, watch, signal) : await this.#annotate(spec, watch, signal);
    if (!there) {
      // As `systemctl try-restart`: a component that is not there yet finds the new files when it comes.
      logger.warn('There is no such static pod; nothing is started anew', { component, manifest: spec.manifestPath });
      return;
    }
    if (watch) await this.#until(spec, 'serve again', () => watch.serving(), signal);
    const tookMs = Math.round(clock.monotonicMs() - startMs);
    logger.info('A static pod was started anew', { component, manifest: spec.manifestPath, tookMs });
  }

  /** False: there is no such manifest. */
  async #moveOutAndBack(spec: StaticPodReload, watch: ComponentWatch | undefined, signal: AbortSignal): Promise<boolean> {
    const { files, clock, fileCheckMs } = this.#options;
    const name = spec.manifestPath.slice(spec.manifestPath.lastIndexOf('/') + 1);
    this.#out.add(name);
    try {
      if (!(await files.takeOut(spec.manifestPath))) return false;
      try {
        const earliestMs = clock.monotonicMs() + fileCheckMs * (1 + margin);
        // Both at once: a component that is started anew by itself before kubelet has looked has not ended for good.
        const over = async (): Promise<boolean> => clock.monotonicMs() >= earliestMs && (watch === undefined || (await watch.ended()));
        await this.#until(spec, 'end', over, signal);
      } finally {
        await this.#putBack(spec.manifestPath);
      }
      return true;
    } finally {
      this.#out.delete(name);
    }
  }

  /** False: there is no such manifest. */
  async #annotate(spec: StaticPodReload, watch: ComponentWatch | undefined, signal: AbortSignal): Promise<boolean> {
    const { files, clock, fileCheckMs } = this.#options;
    if (!(await files.annotate(spec.manifestPath, new Date(clock.nowMs()).toISOString()))) return false;
    // A pid file may tell of the next process before anybody has seen the end of the last.
    const byPid = spec.watch?.startsWith('/') ?? false;
    if (watch === undefined) await clock.sleep(fileCheckMs * (1 + margin), signal);
    else await this.#until(spec, 'end', async () => (await watch.ended()) || (byPid && (await watch.serving())), signal);
    return true;
  }

  /** Until it has succeeded: a component that does not come back is the worst that can happen here. An agent that is killed meanwhile does it at its next start. */
  async #putBack(manifestPath: string): Promise<void> {
    const { files, clock, events } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await files.putBack(manifestPath);
        return;
      } catch (caught) {
        const { code: errorCode, message } = toEvercertError(caught);
        const told = { reason: 'StaticPodOut', type: 'Warning', errorCode } as const;
        if (attempt === 1) events.record({ ...told, message: `${manifestPath} cannot be put back, and is tried again: ${message}` });
        // An agent that stops must come to its end; its next start goes on.
        if (this.#stopped.signal.aborted && attempt > 3) throw caught;
        await clock.sleep(backoffMs({ attempt, draw: 1, ...putBackBounds }));
      }
    }
  }

  async #until(spec: StaticPodReload, what: string, condition: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + spec.timeoutSeconds * 1000;
    while (!(await condition())) {
      if (clock.monotonicMs() >= endMs)
        throw new EvercertError(
          'ReloadFailed',
          `${componentOf(spec)} did not ${what} within ${spec.timeoutSeconds} s; look at kubelet's log and at the pod of ${spec.manifestPath}`,
        );
      await clock.sleep(pollMs, signal);
    }
  }
}
