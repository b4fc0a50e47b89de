import type { RevocationReference } from '@evercert/proto';
import { timestamp } from '../output/time.ts';

/** `entry 2 (Group system:nodes) of incident-7`; entries are counted from 1 for people. */
export function describeReference({ object, entry, kind, value, notBefore }: RevocationReference): string {
  const reach = notBefore ? `, issued before ${timestamp(notBefore)}` : '';
  return `entry ${entry + 1} (${kind} ${value}${reach}) of ${object}`;
}

/** `incident-7#2`, for tables. */
export function shortReference({ object, entry }: RevocationReference): string {
  return `${object}#${entry + 1}`;
}

/** For `-o json` and `-o yaml`: entries are counted from 0, as the lists of the object are. */
export function referenceObject({ object, entry, kind, value, notBefore, description }: RevocationReference): Record<string, unknown> {
  return { object, entry, kind, value, ...(notBefore && { notBefore }), ...(description !== '' && { description }) };
}
