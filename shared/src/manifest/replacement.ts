/** What a replacement policy may say, wherever it is written: in a Cluster document or in a request. */
import { formatDuration } from '../config/index.ts';
import { type ClusterManifest, type ClusterPolicy, defaultReplacementPolicy, type ReplacementPolicy, rotationPolicyOf } from './types.ts';

/** Every time can be set down to a second, so that the life of a cluster can be watched in a minute. */
export const replacementLimits = {
  graceSeconds: { min: 1, max: 30 * 86_400 },
  drainTimeoutSeconds: { min: 1, max: 86_400 },
  joinTimeoutSeconds: { min: 1, max: 86_400 },
  backoffSeconds: { min: 1, max: 7 * 86_400 },
  maxBackoffSeconds: { min: 1, max: 30 * 86_400 },
  maxConcurrent: { min: 1, max: 100 },
  maxPerHour: { min: 1, max: 1000 },
  windows: 50,
  windowSeconds: { min: 1, max: 7 * 86_400 },
} as const;

/** The policy of a cluster's replacements; the records of earlier releases say nothing of it. */
export function replacementPolicyOf(policy: Pick<ClusterPolicy, 'replacement'> | undefined): ReplacementPolicy {
  return policy?.replacement ?? defaultReplacementPolicy;
}

/** The policy after a Cluster document has been applied to it. */
export function mergePolicy(before: ClusterPolicy, spec: ClusterManifest['spec']): ClusterPolicy {
  return {
    ...before,
    ...spec,
    replacement: { ...replacementPolicyOf(before), ...spec.replacement },
    rotation: { ...rotationPolicyOf(before), ...spec.rotation },
  };
}

/** What is wrong with a policy whose parts are fine each on its own, with the field first; undefined: nothing. */
export function replacementFault({ backoffSeconds, maxBackoffSeconds }: ReplacementPolicy): string | undefined {
  if (maxBackoffSeconds >= backoffSeconds) return undefined;
  const [most, first] = [formatDuration(maxBackoffSeconds * 1000), formatDuration(backoffSeconds * 1000)];
  return `maxBackoff: expected at least the backoff of ${first}, not ${most}`;
}

/** What `maxUnhealthy` means: a number of workers, or a percentage of the cluster's. undefined: it is neither. */
export function parseMaxUnhealthy(text: string): { count: number } | { percent: number } | undefined {
  const [, digits, percent] = /^(\d{1,5})(%?)$/.exec(text) ?? [];
  if (digits === undefined || Number(digits) < 1) return undefined;
  if (percent === '') return { count: Number(digits) };
  return Number(digits) <= 100 ? { percent: Number(digits) } : undefined;
}

export const maxUnhealthyExample =
  'a count of workers such as 2, or a percentage of them such as 40%, of at least 1 (to replace nobody, set the mode to off)';

/** Minutes after midnight of a time of day such as "02:00"; undefined: it is none. */
export function parseTimeOfDay(text: string): number | undefined {
  const [, hours, minutes] = /^([01]\d|2[0-3]):([0-5]\d)$/.exec(text) ?? [];
  return hours === undefined ? undefined : Number(hours) * 60 + Number(minutes);
}

export function formatTimeOfDay(minutes: number): string {
  const two = (part: number): string => String(part).padStart(2, '0');
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}
