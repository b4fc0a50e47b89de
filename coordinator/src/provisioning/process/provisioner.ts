import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ActionCall, ActionReport, CreateCall, DiscardCall, NodeProvisioner } from '../types.ts';
import { HostClient } from './client.ts';
import type { ProcessProvisionerConfig } from './config.ts';

/** A machine's end takes SIGTERM, a grace time and SIGKILL. */
const answerMs = 60_000;
const nothingToDo: ActionReport = { message: 'agents that run as processes of one machine have no work to keep off or to move' };

/**
 * Machines that are processes of this machine: a local cluster keeps them, so that they outlive the coordinator, and does on its socket what is asked here. It keeps the idempotency keys too.
 * Errors: see HostClient.
 */
export function createProcessProvisioner(
  { socket }: ProcessProvisionerConfig,
  { clock, logger }: { clock: Clock; logger: Logger },
): NodeProvisioner {
  const closing = new AbortController();
  const client = new HostClient({ socket, clock, timeoutMs: answerMs });
  const until = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, closing.signal]);

  const remove = async (name: string, { idempotencyKey, cluster, signal }: ActionCall): Promise<ActionReport> => {
    const query = new URLSearchParams({ cluster, key: idempotencyKey });
    const message = await client.call({ method: 'DELETE', path: `${pathOf(name)}?${query}`, signal: until(signal) });
    logger.info('machine removed', { cluster, node: name });
    return { message };
  };

  return {
    type: 'process',
    sameName: true,
    cordon: async () => nothingToDo,
    uncordon: async () => nothingToDo,
    drain: async () => nothingToDo,
    remove: (call) => remove(call.node.name, call),
    allocate: async ({ node }) => ({ ...node, machine: '' }),
    create: async (call: CreateCall) => {
      const { idempotencyKey, cluster, newNode, join, signal } = call;
      const { name, labels, addresses, dnsNames } = newNode;
      const body = { idempotencyKey, cluster, node: { name, labels, addresses, dnsNames }, join };
      const message = await client.call({ method: 'PUT', path: pathOf(name), body, signal: until(signal) });
      logger.info('machine created', { cluster, node: name });
      return { message };
    },
    discard: (call: DiscardCall) => remove(call.newNode.name, call),
    close: async () => closing.abort(new EvercertError('Cancelled', 'the coordinator stops')),
  };
}

function pathOf(name: string): string {
  return `/v1/machines/${encodeURIComponent(name)}`;
}
