import { EvercertError } from '@evercert/shared/errors';
import { z } from 'zod';
import type { ManagementCluster } from './management.ts';
import { annotationOf, claimAnnotation, controllerOf, type Machine, type MachineSet, recordPrefix } from './objects.ts';

/**
 * What a replacement needs to know when the old Machine is gone. It stands on the MachineSet, so that every coordinator finds it after any crash.
 */
const recordSchema = z.object({
  node: z.string(),
  machine: z.string(),
  uid: z.string(),
  /** UIDs of the set's Machines that waited for their nodes just before the deletion: made for another reason, they are not the new one. Absent: nothing was deleted yet. */
  waiting: z.array(z.string()).optional(),
});

export type RemovalRecord = z.infer<typeof recordSchema>;

/** A finished replacement says nothing more to the driver, so old records go when new ones come. */
const maxRecords = 16;
const maxWaiting = 1000;

export interface Removal {
  set: MachineSet;
  record: RemovalRecord;
}

/** The record of a replacement, wherever it is. */
export async function findRemoval(management: ManagementCluster, replacementId: string): Promise<Removal | undefined> {
  for (const set of await management.machineSets()) {
    const record = recordOf(set, replacementId);
    if (record !== undefined) return { set, record };
  }
  return undefined;
}

function recordOf(set: MachineSet, replacementId: string): RemovalRecord | undefined {
  const text = annotationOf(set, recordPrefix + replacementId);
  if (text === undefined) return undefined;
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new EvercertError(
      'FailedPrecondition',
      `the annotation ${recordPrefix}${replacementId} of MachineSet ${set.metadata.name} was changed by somebody else: delete it`,
      { cause: error },
    );
  }
}

/** Notes which Machine is replaced, before anything is done to it. */
export async function recordRemoval(
  management: ManagementCluster,
  replacementId: string,
  node: string,
  machine: Machine,
): Promise<Removal> {
  const set = await management.successorsOf(machine);
  const record: RemovalRecord = { node, machine: machine.metadata.name, uid: machine.metadata.uid };
  const outdated = await outdatedRecords(management, set, replacementId);
  return { set: await write(management, set, replacementId, record, outdated), record };
}

/** Notes, just before the deletion, which Machines are not the one that will be made. */
export async function recordWaiting(management: ManagementCluster, replacementId: string, { set, record }: Removal): Promise<Removal> {
  const waiting = (await management.machines())
    .filter((machine) => waitsFor(set, machine) && machine.metadata.uid !== record.uid)
    .map(({ metadata }) => metadata.uid);
  if (waiting.length > maxWaiting)
    throw new EvercertError(
      'FailedPrecondition',
      `${waiting.length} Machines of MachineSet ${set.metadata.name} have no node yet; expected ${maxWaiting} at most`,
    );
  const noted = { ...record, waiting };
  return { set: await write(management, set, replacementId, noted, []), record: noted };
}

export async function forgetRemoval(management: ManagementCluster, replacementId: string): Promise<void> {
  const found = await findRemoval(management, replacementId);
  if (found !== undefined) await management.annotateMachineSet(found.set, { [recordPrefix + replacementId]: null });
}

/** A Machine of the set, without a node and taken by no replacement. */
export function waitsFor(set: MachineSet, machine: Machine): boolean {
  return (
    controllerOf(machine, 'MachineSet')?.uid === set.metadata.uid &&
    machine.metadata.deletionTimestamp === undefined &&
    machine.status?.nodeRef?.name === undefined &&
    annotationOf(machine, claimAnnotation) === undefined
  );
}

function write(
  management: ManagementCluster,
  set: MachineSet,
  replacementId: string,
  record: RemovalRecord,
  outdated: readonly string[],
): Promise<MachineSet> {
  return management.annotateMachineSet(set, {
    ...Object.fromEntries(outdated.map((name) => [name, null])),
    [recordPrefix + replacementId]: JSON.stringify(record),
  });
}

/** Records of replacements whose new Machine has its node, and beyond the bound those of Machines that are gone. */
async function outdatedRecords(management: ManagementCluster, set: MachineSet, replacementId: string): Promise<string[]> {
  const names = Object.keys(set.metadata.annotations ?? {}).filter(
    (name) => name.startsWith(recordPrefix) && name !== recordPrefix + replacementId,
  );
  if (names.length === 0) return [];
  const machines = await management.machines();
  const finished = new Set(
    machines
      .filter(({ status }) => status?.nodeRef?.name !== undefined)
      .map((machine) => annotationOf(machine, claimAnnotation)?.replace(/-\d+$/, '')),
  );
  const done = names.filter((name) => finished.has(name.slice(recordPrefix.length)));
  const open = names.filter((name) => !done.includes(name));
  if (open.length >= maxRecords)
    throw new EvercertError(
      'FailedPrecondition',
      `MachineSet ${set.metadata.name} has ${open.length} annotations of replacements that did not end: delete those (${recordPrefix}…) that \`evercert get replacements\` does not show`,
    );
  return done;
}
