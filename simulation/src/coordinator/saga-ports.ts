import type { RecordChange, ReplacementRecord, SagaOptions } from '@evercert/coordinator/replacement';
import { EvercertError } from '@evercert/shared/errors';
import type { Process, SimulatedCoordinator } from './coordinator.ts';
import type { NodeEntry } from './registry.ts';

export interface SagaState {
  coordinator: SimulatedCoordinator;
  records: ReplacementRecord[];
  /** The node's identity is withdrawn now. */
  withdraws: (record: ReplacementRecord) => void;
  saved: (record: ReplacementRecord) => void;
  /** A node's record was changed. */
  changed: (entry: NodeEntry) => void;
  touched: () => void;
  nextToken: () => string;
}

/** What the real saga keeps its records in and does to nodes by, over the simulation's records; each of one process, after whose end nothing of it goes on. */
export function sagaPorts(state: SagaState, process: Process): Pick<SagaOptions, 'records' | 'swap' | 'model' | 'pauses'> {
  const { coordinator } = state;
  const { registry } = coordinator;
  const model: SagaOptions['model'] = {
    node: (_cluster, name) => {
      const entry = registry.nodes.get(name);
      return entry && ({ labels: entry.labels, registeredAddresses: [], dnsNames: [], identitySerials: serialsOf(entry) } as never);
    },
  };
  const pauses: SagaOptions['pauses'] = { of: () => registry.pause };
  return { records: recordsPort(state, process), swap: swapPort(state), model, pauses };
}

function recordsPort({ coordinator, records, saved, touched }: SagaState, process: Process): SagaOptions['records'] {
  const indexOf = (id: string): number => records.findIndex((record) => record.id === id);
  return {
    get: (_cluster, id) => {
      const record = records[indexOf(id)];
      return record && ({ record, modRevision: 1 } as never);
    },
    update: async (_cluster, id, decide) => {
      touched();
      await alive(coordinator, process);
      const before = records[indexOf(id)];
      if (!before) throw new EvercertError('NotFound', `no replacement ${id}`);
      const change: RecordChange | undefined = await decide(before);
      if (!change) return before;
      await alive(coordinator, process);
      if (!coordinator.storeWorks) throw new EvercertError('StoreFailure', 'the store does not take writes: a fault of the simulation');
      records[indexOf(id)] = change.record;
      change.accept?.(1);
      saved(change.record);
      return change.record;
    },
  };
}

/** Never resolves for a process that has ended: what it had under way is lost in the middle. */
function alive(coordinator: SimulatedCoordinator, process: Process): Promise<void> {
  return coordinator.process === process ? Promise.resolve() : new Promise(() => undefined);
}

function swapPort({ coordinator, withdraws, changed, nextToken }: SagaState): SagaOptions['swap'] {
  const { registry } = coordinator;
  const none = { compares: [], operations: [], accept: () => undefined };
  const withdraw = (entry: NodeEntry | undefined): void => {
    if (!entry) return;
    registry.withdraw(entry);
    changed(entry);
  };
  return {
    withdrawal: async (record) => {
      if (registry.pause) return undefined;
      const withdrawn = { ...record, withdrawnAtMs: coordinator.nowMs };
      return {
        record: withdrawn,
        accept: () => {
          withdraws(withdrawn);
          withdraw(registry.nodes.get(record.node));
        },
      };
    },
    checkNew: async () => undefined,
    registration: async (record, told) => ({ record: { ...record, newNode: told.name, machine: told.machine } }),
    departure: async () => undefined,
    token: (record, lifetimeSeconds) => {
      const token = nextToken();
      const draft = { token, record: { id: token, expiresAtMs: coordinator.nowMs + lifetimeSeconds * 1000 } };
      return { draft: draft as never, change: { record: { ...record, tokenIds: [...record.tokenIds, token] } } };
    },
    givingUp: async (record, why, unless) => {
      const entry = registry.nodes.get(record.newNode);
      if (entry && unless({ identitySerials: serialsOf(entry) } as never)) return undefined;
      return { record: { ...record, discarding: why, message: why, tokenIds: [], failures: 0 }, accept: () => withdraw(entry) };
    },
    discarded: async () => none,
    ending: async (record) => ({
      ...none,
      accept: () => {
        const entry = registry.nodes.get(record.node);
        if (entry?.replacement?.id !== record.id) return;
        delete entry.replacement;
        changed(entry);
      },
    }),
    event: () => ({ type: 'delete', key: 'no events are kept' }),
  };
}

function serialsOf(entry: NodeEntry): string[] {
  const serial = entry.currents.get('identity')?.serial;
  return serial === undefined ? [] : [serial];
}
