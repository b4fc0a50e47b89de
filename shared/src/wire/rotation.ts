/** The rotation policy as the protocol tells it. */
import type { RotationPolicy as ProtoPolicy } from '@evercert/proto';
import { EvercertError } from '../errors/index.ts';
import { defaultRotationPolicy, type RotationPolicy, rotationLimits } from '../manifest/index.ts';

export function rotationPolicyToProto(policy: RotationPolicy): ProtoPolicy {
  return { ...policy };
}

/** Zero values stand for defaults; undefined where nothing is given. InvalidArgument names the field. */
export function rotationPolicyFromProto(given: ProtoPolicy | undefined): RotationPolicy | undefined {
  if (!given) return undefined;
  const number = (field: keyof typeof rotationLimits, name: string): number => {
    if (given[field] === 0) return defaultRotationPolicy[field];
    const { min, max } = rotationLimits[field];
    if (given[field] >= min && given[field] <= max) return given[field];
    throw new EvercertError('InvalidArgument', `rotation.${name}: expected ${min} to ${max}, not ${given[field]}`);
  };
  return {
    automatic: given.automatic,
    beforeSeconds: number('beforeSeconds', 'before_seconds'),
    maxConcurrent: number('maxConcurrent', 'max_concurrent'),
    settleSeconds: number('settleSeconds', 'settle_seconds'),
  };
}
