import { EvercertError } from '@evercert/shared/errors';

const segment = /^[a-z0-9](?:[a-z0-9.-]{0,126}[a-z0-9])?$/;
const maxSegments = 8;

/** Keys below this are made to be handed to nodes; no other ever leaves its provider. */
export const sharedPrefix = 'shared/';

export function isKeyId(id: string): boolean {
  const segments = id.split('/');
  return segments.length <= maxSegments && segments.every((part) => segment.test(part) && !part.includes('..') && !part.endsWith('.key'));
}

/**
 * Refuses ids that are no paths of `[a-z0-9.-]` segments. Segments begin and end with a letter or digit: so none is `.` or `..` and leaves the folder, and none is a
 * hidden file. `.key` at the end of one is the provider's own. InvalidArgument.
 */
export function checkKeyId(id: string): void {
  if (isKeyId(id)) return;
  throw new EvercertError(
    'InvalidArgument',
    'a key id is not understood; expected lower-case segments of a-z, 0-9, dot and hyphen, as demo/cluster-ca/1',
    { metadata: { id: id.slice(0, 200) } },
  );
}

/** The same, and PermissionDenied for every key that is not made to be handed out. */
export function checkSharedKeyId(id: string): void {
  checkKeyId(id);
  if (id.startsWith(sharedPrefix)) return;
  const text = `the key ${id} never leaves the coordinator; only keys under ${sharedPrefix} are handed out`;
  throw new EvercertError('PermissionDenied', text, { metadata: { id } });
}

export function takenId(id: string): EvercertError {
  return new EvercertError('AlreadyExists', `a key with the id ${id} exists already`, { metadata: { id } });
}

export function missingKey(id: string, cause?: unknown): EvercertError {
  return new EvercertError('NotFound', `there is no key ${id}`, { cause, metadata: { id } });
}
