import { stepOf } from './progress.ts';
import { isJoined, type SagaOptions } from './saga-options.ts';
import type { ReplacementRecord } from './types.ts';

/** Ends a replacement that was cancelled; what could be undone is undone by now. */
export async function endCancelled(options: SagaOptions, { cluster, id }: Pick<ReplacementRecord, 'cluster' | 'id'>): Promise<void> {
  const { records, swap, clock, provisioners, model } = options;
  await records.update(cluster, id, async (before) => {
    const joined = before.newNode !== '' && isJoined(model, cluster, before.newNode);
    const sameName = before.newNode === '' ? (provisioners.get(before.provisioner)?.sameName ?? true) : before.newNode === before.node;
    const gone = before.withdrawnAtMs !== undefined && !sameName;
    const erase = gone ? [before.node, ...(joined || before.newNode === '' ? [] : [before.newNode])] : [];
    const part = await swap.ending(before, erase);
    const message = endMessage(before, { joined, sameName });
    const { nextAttemptAtMs: _none, ...rest } = before;
    return {
      record: { ...rest, state: 'Cancelled', message, finishedAtMs: clock.nowMs(), tokenIds: [], failures: 0 },
      ...part,
      operations: [
        ...part.operations,
        swap.event(before, { reason: 'ReplacementCancelled', warning: true, message: `replacement ${id}: ${message}` }),
      ],
    };
  });
}

function endMessage(record: ReplacementRecord, { joined, sameName }: { joined: boolean; sameName: boolean }): string {
  const { cancel, node, newNode, withdrawnAtMs } = record;
  const who = `cancelled by ${cancel?.by ?? 'an admin'}${cancel?.reason ? ` (${cancel.reason})` : ''}`;
  if (withdrawnAtMs === undefined) {
    const again =
      cancel?.by === 'coordinator' ? '' : `; it is replaced again when it is due, unless it is exempt ('evercert cordon ${node}')`;
    return `${who}: node ${node} stays${again}`;
  }
  const removed = stepOf({ ...record, attempt: 1 }, 'Remove')?.finishedAtMs !== undefined;
  const machine = removed ? 'its machine was removed' : 'its machine may still be there and is accepted no more: see that it is removed';
  if (joined) return `${who}: node ${node} was taken out of service (${machine}), and node ${newNode} has joined and stays`;
  const next = sameName
    ? `the node stays registered, without a machine: let one join with 'evercert token create --role worker --node-name ${node}'`
    : 'the node was deleted';
  return `${who}: node ${node} was taken out of service (${machine}); ${next}`;
}
