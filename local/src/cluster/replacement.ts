import type { LocalReplacement } from './options.ts';

/** What the coordinator's configuration calls the local cluster's own machines. */
export const provisionerName = 'local';

/** A policy in proportion to the life of leaves: with lives of a minute a worker is replaced ten seconds after its certificates have ended, and has a minute to join. */
export function replacementFor(leafLifetimeSeconds: number): LocalReplacement {
  const part = (share: number, least: number, most: number): number =>
    Math.min(most, Math.max(least, Math.round(leafLifetimeSeconds * share)));
  return {
    mode: 'active',
    graceSeconds: part(1 / 6, 2, 600),
    // With the two workers of the default, one may fail.
    maxUnhealthy: '50%',
    maxConcurrent: 1,
    // Whoever plays with it does not want to wait for an hour.
    maxPerHour: 60,
    drainTimeoutSeconds: part(1 / 2, 10, 300),
    joinTimeoutSeconds: part(1, 60, 900),
    backoffSeconds: part(1 / 2, 10, 600),
    maxBackoffSeconds: part(10, 60, 6 * 3600),
  };
}
