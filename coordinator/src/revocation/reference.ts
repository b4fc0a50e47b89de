import type { RevocationReference } from '@evercert/proto';
import type { RevocationMatch } from './types.ts';

/** Which entry of which object, as the protocol tells it. */
export function referenceOf({ object, entry, kind, value, notBeforeMs, description }: RevocationMatch): RevocationReference {
  return { object, entry, kind, value, description, notBefore: notBeforeMs === undefined ? undefined : new Date(notBeforeMs) };
}
