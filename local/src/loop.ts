import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';

/** Runs `step` again and again, with a pause after each, until the signal aborts. Resolves when the last step has ended. `step` handles its own failures. */
export async function repeat(clock: Clock, pauseMs: number, signal: AbortSignal, step: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await step();
    await pause(clock, pauseMs, signal);
  }
}

/** Sleeps; an abort only cuts it short. */
export async function pause(clock: Clock, durationMs: number, signal: AbortSignal): Promise<void> {
  await clock.sleep(durationMs, signal).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}

export interface WaitOptions {
  timeoutMs: number;
  /** Ends the sentence "waited 10 s for …". */
  what: string;
  pollMs?: number;
  signal?: AbortSignal;
}

/** Asks until the answer is true. DeadlineExceeded when it is not within the time; Cancelled by the signal. */
export async function waitUntil(
  clock: Clock,
  predicate: () => boolean | Promise<boolean>,
  { timeoutMs, what, pollMs = 100, signal }: WaitOptions,
): Promise<void> {
  const end = clock.monotonicMs() + timeoutMs;
  while (!(await predicate())) {
    if (clock.monotonicMs() >= end) throw new EvercertError('DeadlineExceeded', `waited ${timeoutMs / 1000} s for ${what}`);
    await clock.sleep(pollMs, signal);
  }
}
