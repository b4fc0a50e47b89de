/** From stage to stage: what a rotation's record and its CA become. Pure; whoever writes it compares both with what they were. */
import { EvercertError } from '@evercert/shared/errors';
import {
  abandoned,
  activated,
  generationsOf,
  retired,
  reverted,
  spread,
  withCompromised,
  withLastLeaf,
  withNext,
} from '../ca/generations.ts';
import type { AuthorityGeneration, AuthorityRecord, RotationRecord, RotationStage } from '../state/records.ts';
import { hasEnded } from './records.ts';

export interface Transition {
  record: RotationRecord;
  authority?: AuthorityRecord;
}

/** The next generation is made: nodes are to trust it beside the present one. */
export function spreading(record: RotationRecord, authority: AuthorityRecord, next: AuthorityGeneration, nowMs: number): Transition {
  const both = spread(withNext(authority, next));
  return {
    record: { ...at(record, 'Spreading', nowMs), newSerial: next.serial, newKeyId: next.keyId, bundleVersion: both.bundleVersion },
    authority: both,
  };
}

/** Every node trusts the next generation. */
export function activating(record: RotationRecord, nowMs: number): Transition {
  return { record: at(record, 'Activating', nowMs) };
}

/** The next generation signs from here on. When the last leaf of the one before ends is not known yet: at its own end at the latest. */
export function reissuing(record: RotationRecord, authority: AuthorityRecord, nowMs: number): Transition {
  const swapped = activated(authority, { nowMs, lastLeafNotAfterMs: authority.notAfterMs });
  return {
    record: { ...at(record, 'Reissuing', nowMs), activatedAtMs: nowMs },
    authority: record.reason === 'compromise' ? withCompromised(swapped, record.oldSerial) : swapped,
  };
}

/** Nothing that is in use comes from the other generation any more: nodes are to trust the signing one alone. */
export function retiring(
  record: RotationRecord,
  authority: AuthorityRecord,
  { nowMs, lastLeafMs }: { nowMs: number; lastLeafMs: number },
): Transition {
  const alone = retired(withLastLeaf(authority, otherOf(record), lastLeafMs), nowMs);
  const stage = record.stage === 'AbortReissuing' ? 'AbortRetiring' : 'Retiring';
  return { record: { ...at(record, stage, nowMs), bundleVersion: alone.bundleVersion }, authority: alone };
}

export function ended(record: RotationRecord, nowMs: number): Transition {
  const { lastError: _over, pausedAtMs: _paused, pausedBy: _by, ...rest } = record;
  const stage = record.stage === 'AbortRetiring' ? 'Aborted' : 'Completed';
  return { record: { ...at(rest, stage, nowMs), endedAtMs: nowMs } };
}

/** Back to how it was; undefined: it goes back already. FailedPrecondition: there is no way back any more. */
export function aborted(record: RotationRecord, authority: AuthorityRecord, nowMs: number): Transition | undefined {
  const { following: _dropped, pausedAtMs: _paused, pausedBy: _by, ...rest } = record;
  switch (record.stage) {
    case 'Preparing':
    case 'AwaitingCertificate':
      return { record: { ...at(rest, 'AbortRetiring', nowMs), bundleVersion: authority.bundleVersion } };
    case 'Spreading':
    case 'Activating': {
      const alone = abandoned(authority);
      return { record: { ...at(rest, 'AbortRetiring', nowMs), bundleVersion: alone.bundleVersion }, authority: alone };
    }
    case 'Reissuing':
      if (record.reason === 'compromise') throw noWayBack(record, 'its key may be in strange hands, and signs no more');
      return {
        record: at(rest, 'AbortReissuing', nowMs),
        authority: reverted(authority, { nowMs, lastLeafNotAfterMs: authority.notAfterMs }),
      };
    case 'AbortReissuing':
    case 'AbortRetiring':
      return undefined;
    case 'Retiring':
      throw noWayBack(record, 'nodes have begun to distrust it');
    case 'Completed':
    case 'Aborted':
      throw over(record);
  }
}

export function assertRunning(record: RotationRecord): void {
  if (hasEnded(record)) throw over(record);
}

/** Keys that were made for a rotation that was aborted before they signed anything: no generation of the CA has them. */
export function unusedKeys(record: RotationRecord, authority: AuthorityRecord): string[] {
  const used = new Set(generationsOf(authority).map(({ generation }) => generation.keyId));
  return [record.newKeyId, record.request?.keyId].flatMap((id) => (id !== undefined && !used.has(id) ? [id] : []));
}

/** Serial of the CA's certificate that all is to come from when the rotation, or its abort, is through. */
export function targetOf(record: RotationRecord): string {
  return record.stage.startsWith('Abort') ? record.oldSerial : record.newSerial;
}

/** The other one. */
export function otherOf(record: RotationRecord): string {
  return record.stage.startsWith('Abort') ? record.newSerial : record.oldSerial;
}

function at(record: RotationRecord, stage: RotationStage, nowMs: number): RotationRecord {
  const { lastError: _before, ...rest } = record;
  return { ...rest, stage, stageSinceMs: nowMs };
}

function noWayBack({ id, authority, stage }: RotationRecord, why: string): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `rotation ${id} cannot be aborted at ${stage}: there is no way back to the ${authority} before, for ${why}`,
    {
      metadata: { rotation: id, stage },
    },
  );
}

function over({ id, stage }: RotationRecord): EvercertError {
  return new EvercertError('FailedPrecondition', `rotation ${id} has ended already (${stage})`, { metadata: { rotation: id, stage } });
}
