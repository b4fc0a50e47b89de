/** How many may be replaced at once, how many in an hour, and from how many failures on nobody is. Pure. */
import { parseMaxUnhealthy } from '@evercert/shared/manifest';
import type { NodePhase } from '../nodes/health/types.ts';
import { isEnded } from './progress.ts';
import type { ReplacementFacts, ReplacementHistory, ReplacementQuestion, ReplacementRecord } from './types.ts';

export const hourMs = 3600_000;

const failing = new Set<NodePhase>(['RenewalFailing', 'Expiring', 'Expired', 'Unreachable', 'Revoked', 'Replacing']);
const notThereYet = new Set<NodePhase>(['Joining', 'Repairing']);

/** Counts for this much of the limit; what cannot be read allows nobody to fail. A percentage is of the workers, rounded down. */
export function maxUnhealthyOf(text: string, workers: number): number {
  const limit = parseMaxUnhealthy(text);
  if (!limit) return 0;
  return 'count' in limit ? limit.count : Math.floor((workers * limit.percent) / 100);
}

/** Something is wrong with the node just now, whatever the cause. */
export function isFailing({ phase, joined, expired }: ReplacementFacts): boolean {
  return failing.has(phase) || (joined && (notThereYet.has(phase) || expired.length > 0));
}

/** The replacement that a node belongs to; undefined: none. */
export function replacementOf({ name, replacing }: ReplacementFacts, { running }: ReplacementHistory): string | undefined {
  return replacing?.id ?? running.find(({ node }) => node === name)?.id;
}

/** Ids of the replacements under way, as the records and the nodes know them. */
export function runningIds({ nodes, history }: ReplacementQuestion): Set<string> {
  return new Set([...history.running.map(({ id }) => id), ...nodes.flatMap(({ replacing }) => replacing?.id ?? [])]);
}

export interface WorkerCounts {
  workers: number;
  unhealthy: number;
  maxUnhealthy: number;
}

/**
 * Workers that fail at once. A replacement counts as one that fails, with its old and its new node together. Nodes that are registered and have never joined count neither as workers nor as
 * failures: they would raise what a percentage allows.
 */
export function countWorkers(question: ReplacementQuestion): WorkerCounts {
  const { policy, nodes, history } = question;
  const replacements = runningIds(question);
  const counted = nodes.filter(
    (node) => node.role === 'worker' && node.phase !== 'Removed' && node.joined && replacementOf(node, history) === undefined,
  );
  const workers = counted.length + replacements.size;
  return {
    workers,
    unhealthy: counted.filter(isFailing).length + replacements.size,
    maxUnhealthy: maxUnhealthyOf(policy.maxUnhealthy, workers),
  };
}

/** When the next replacement may begin by the hourly limit; undefined: now. A begin in the future, of a clock that was set back, counts as well. */
export function nextByRate(startedAtMs: readonly number[], maxPerHour: number, nowMs: number): number | undefined {
  const within = startedAtMs.filter((startMs) => nowMs - startMs < hourMs).toSorted((a, b) => a - b);
  if (within.length < maxPerHour) return undefined;
  const leaves = within[within.length - maxPerHour];
  return leaves === undefined ? Number.POSITIVE_INFINITY : leaves + hourMs;
}

/** Replacements that may begin now by both limits. */
export function freePlaces(question: ReplacementQuestion): number {
  const { policy, history, nowMs } = question;
  const inThisHour = history.startedAtMs.filter((startMs) => nowMs - startMs < hourMs).length;
  return Math.max(0, Math.min(policy.maxConcurrent - runningIds(question).size, policy.maxPerHour - inThisHour));
}

/** What the records of a cluster's replacements say to the limits; `without`: as if this one had never begun. */
export function historyOf(records: readonly ReplacementRecord[], nowMs: number, without: string): ReplacementHistory {
  const counted = records.filter(({ id }) => id !== without);
  return {
    running: counted
      .filter((record) => !isEnded(record))
      .map(({ id, node, createdAtMs, state, nextAttemptAtMs }) => ({
        id,
        node,
        startedAtMs: createdAtMs,
        ...(state === 'BackingOff' && nextAttemptAtMs !== undefined && { backingOffUntilMs: nextAttemptAtMs }),
      })),
    startedAtMs: counted.flatMap(({ createdAtMs }) => (nowMs - createdAtMs < hourMs ? [createdAtMs] : [])),
  };
}
