import { EvercertError } from '@evercert/shared/errors';

const segment = /^[a-z0-9](?:[a-z0-9.-]{0,126}[a-z0-9])?$/;
const maxSegments = 8;

/**
 * Refuses ids that are no paths of `[a-z0-9.-]` segments. Segments begin and end with a letter or digit: so none is `.` or `..` and leaves the folder, and none is a
 * hidden file. `.key` at the end of one is the provider's own. InvalidArgument.
 */
export function checkKeyId(id: string): void {
  const segments = id.split('/');
  if (segments.length <= maxSegments && segments.every((part) => segment.test(part) && !part.includes('..') && !part.endsWith('.key')))
    return;
  throw new EvercertError(
    'InvalidArgument',
    'a key id is not understood; expected lower-case segments of a-z, 0-9, dot and hyphen, as demo/cluster-ca/1',
    { metadata: { id: id.slice(0, 200) } },
  );
}
