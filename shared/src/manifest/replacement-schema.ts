/** The YAML form of a cluster's replacement policy. */
import { z } from 'zod';
import { describeValue, durationSeconds, formatDuration } from '../config/index.ts';
import { maxUnhealthyExample, parseMaxUnhealthy, parseTimeOfDay, replacementFault, replacementLimits } from './replacement.ts';
import { parseRfc3339 } from './rfc3339.ts';
import { isUnique, labels, list, nodeName, objectName, unique } from './schema-fields.ts';
import { defaultReplacementPolicy, replacementModes, weekdays } from './types.ts';

interface Bounds {
  min: number;
  max: number;
}

function period({ min, max }: Bounds): z.ZodCodec<z.ZodString, z.ZodNumber> {
  return durationSeconds({ min: formatDuration(min * 1000), max: formatDuration(max * 1000) });
}

function count({ min, max }: Bounds): z.ZodNumber {
  return z.int().min(min).max(max);
}

/** Text, or a number as YAML has it, that `parse` understands. */
function parsed<T>(expected: string, parse: (text: string) => T | undefined): z.ZodType<T> {
  return z.unknown().transform((value, context) => {
    const result = typeof value === 'string' || typeof value === 'number' ? parse(String(value)) : undefined;
    if (result === undefined) context.addIssue({ code: 'custom', message: `expected ${expected}, found ${describeValue(value)}` });
    return result ?? z.NEVER;
  }) as unknown as z.ZodType<T>;
}

const time = parsed('a time of RFC 3339, such as "2026-12-24T00:00:00Z"', parseRfc3339);

const window = z
  .strictObject({
    name: objectName,
    from: time.optional(),
    until: time.optional(),
    days: z.array(z.enum(weekdays)).min(1).refine(isUnique, unique).optional(),
    start: parsed('a time of day (UTC) such as "02:00"', parseTimeOfDay).optional(),
    duration: period(replacementLimits.windowSeconds).optional(),
    nodes: list(nodeName).min(1).refine(isUnique, unique).optional(),
    labels: labels.optional(),
  })
  .superRefine((raw, context) => {
    const report = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    const once = raw.from !== undefined || raw.until !== undefined;
    const recurring = (['start', 'duration', 'days'] as const).filter((field) => raw[field] !== undefined);
    if (once && recurring.length > 0) {
      report(recurring[0]!, 'expected either from and until (once), or start and duration (on every day, or on the days given), not both');
    } else if (once) {
      if (raw.from === undefined) report('from', 'missing; expected the begin of the window beside its end');
      else if (raw.until === undefined) report('until', 'missing; expected the end of the window beside its begin');
      else if (raw.until <= raw.from) report('until', 'expected an end after the begin');
    } else {
      if (raw.start === undefined) report('start', 'missing; expected start and duration, or from and until');
      else if (raw.duration === undefined) report('duration', 'missing; expected how long the window lasts, such as "4h"');
    }
  });
export type RawWindow = z.output<typeof window>;

/** Parts of a ReplacementPolicy by their YAML names. */
export const replacementSpec = z
  .strictObject({
    provisioner: z.union([z.literal(''), objectName]).optional(),
    mode: z.enum(replacementModes).optional(),
    grace: period(replacementLimits.graceSeconds).optional(),
    maxUnhealthy: parsed(maxUnhealthyExample, (text) => (parseMaxUnhealthy(text) ? text : undefined)).optional(),
    maxConcurrent: count(replacementLimits.maxConcurrent).optional(),
    maxPerHour: count(replacementLimits.maxPerHour).optional(),
    drainTimeout: period(replacementLimits.drainTimeoutSeconds).optional(),
    joinTimeout: period(replacementLimits.joinTimeoutSeconds).optional(),
    backoff: period(replacementLimits.backoffSeconds).optional(),
    maxBackoff: period(replacementLimits.maxBackoffSeconds).optional(),
    maintenanceWindows: z
      .array(window)
      .max(replacementLimits.windows)
      .refine((windows) => isUnique(windows.map(({ name }) => name)), { error: 'expected each window to have a name of its own' })
      .optional(),
  })
  .superRefine(({ backoff, maxBackoff }, context) => {
    if (backoff === undefined || maxBackoff === undefined) return;
    const fault = replacementFault({ ...defaultReplacementPolicy, backoffSeconds: backoff, maxBackoffSeconds: maxBackoff });
    if (fault) context.addIssue({ code: 'custom', path: ['maxBackoff'], message: fault.replace('maxBackoff: ', '') });
  });
export type RawReplacementSpec = z.output<typeof replacementSpec>;
