import { randomBytes, verify } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { missingKey, sharedPrefix } from './ids.ts';
import type { KeyHolder, Signer } from './types.ts';

export type MoveOutcome = 'moved' | 'there already' | 'stays: nodes are to have it';

/**
 * Moves one key: a copy in the new place is durable and has signed before the old one is destroyed, so that the key is in one of the two at every moment; an interrupted move is simply
 * done again. NotFound: it is not in the old place. Conflict: another key has the id in the new place; nothing was changed. FailedPrecondition: keys never leave the old place.
 */
export async function moveKey(id: string, { from, to }: { from: KeyHolder; to: KeyHolder }): Promise<MoveOutcome> {
  if (to.kind === 'pkcs11' && id.startsWith(sharedPrefix)) return 'stays: nodes are to have it';
  const source = await from.signer(id);
  if (!(await to.has(id))) {
    await to.import(id, await from.takeOut(id));
    faultPoint('keys-move-copied');
  }
  // What is in memory says nothing of what a restart will find.
  to.forget(id);
  await checkSame(id, source, await to.signer(id));
  faultPoint('keys-move-verified');
  if (!(await from.has(id))) {
    // A coordinator has destroyed it meanwhile: it must not come back.
    await to.delete(id);
    throw missingKey(id);
  }
  await from.delete(id);
  faultPoint('keys-move-destroyed');
  return 'moved';
}

async function checkSame(id: string, source: Signer, copy: Signer): Promise<void> {
  const data = randomBytes(32);
  const hash = source.keyAlgorithm === 'ecdsa-p384' ? 'sha384' : 'sha256';
  if (copy.publicKey.equals(source.publicKey) && verify(hash, data, source.publicKey, await copy.sign(data))) return;
  throw new EvercertError(
    'Conflict',
    `another key has the id ${id} in the new place: nothing was changed; look at both with \`evercert-coordinator keys list\`, and delete the wrong one by hand`,
    { metadata: { id } },
  );
}
