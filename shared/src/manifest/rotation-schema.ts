/** The YAML form of a cluster's rotation policy. */
import { z } from 'zod';
import { durationSeconds, formatDuration } from '../config/index.ts';
import { rotationLimits } from './rotation-policy.ts';

const { beforeSeconds, maxConcurrent, settleSeconds } = rotationLimits;
const longest = formatDuration(beforeSeconds.max * 1000);

/** Parts of a RotationPolicy by their YAML names. */
export const rotationSpec = z.strictObject({
  automatic: z.boolean().optional(),
  before: durationSeconds({ min: '1s', max: longest }).optional(),
  maxConcurrent: z.int().min(maxConcurrent.min).max(maxConcurrent.max).optional(),
  settle: durationSeconds({ min: '1s', max: formatDuration(settleSeconds.max * 1000) }).optional(),
});
export type RawRotationSpec = z.output<typeof rotationSpec>;
