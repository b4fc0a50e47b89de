import { nextState } from '@evercert/coordinator';
import type { ActionCall, ActionReport, NodeProvisioner } from '@evercert/coordinator/provisioning';
import {
  type Confirmation,
  isEnded,
  ProvisionerCalls,
  type ReplacementRecord,
  ReplacementSaga,
  type Verdict,
} from '@evercert/coordinator/replacement';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReplacementPolicy } from '@evercert/shared/manifest';
import type { Random } from '../random.ts';
import { StretchedClock } from '../stretched-clock.ts';
import type { Action, SimulatedProvisioner } from '../world/provisioner.ts';
import type { Process, SimulatedCoordinator } from './coordinator.ts';
import { factsOf } from './health.ts';
import type { NodeEntry } from './registry.ts';
import { sagaPorts } from './saga-ports.ts';

/** What replacements do is told just before it is done. */
export interface SagaWitness {
  begins(record: ReplacementRecord): void;
  acts(id: string, action: Action): void;
  /** The node's identity is withdrawn now. */
  withdraws(record: ReplacementRecord): void;
  saved(record: ReplacementRecord): void;
}

export interface SagaHostOptions {
  coordinator: SimulatedCoordinator;
  policy: ReplacementPolicy;
  provisioner: SimulatedProvisioner;
  random: Random;
  logger: Logger;
  reconsider: (node: string, without: string) => Verdict;
  witness: SagaWitness;
  /** A node's record was changed. */
  changed: (entry: NodeEntry) => void;
  touched: () => void;
}

interface Running {
  saga: ReplacementSaga;
  clock: StretchedClock;
}

/** Runs the real sagas over the simulation's records, nodes and provisioner; in each process of the coordinator anew. */
export class SagaHost {
  readonly records: ReplacementRecord[] = [];
  readonly #options: SagaHostOptions;
  #running = new Map<string, Running>();
  #tokens = 0;

  constructor(options: SagaHostOptions) {
    this.#options = options;
  }

  /** Nothing happens while the store takes no writes. */
  begin(node: string): void {
    const { coordinator, policy, witness, changed } = this.#options;
    const entry = coordinator.registry.nodes.get(node);
    if (!coordinator.storeWorks || !entry || entry.replacement) return;
    const record: ReplacementRecord = {
      cluster: 'simulated',
      id: `rp-${String(this.records.length + 1).padStart(10, '0')}`,
      node,
      newNode: '',
      machine: '',
      provisioner: policy.provisioner,
      state: 'Running',
      step: 'Cordon',
      attempt: 1,
      reason: 'CertificatesExpired',
      message: '',
      facts: { labels: entry.labels, registeredAddresses: [], dnsNames: [] },
      tokenIds: [],
      createdAtMs: coordinator.nowMs,
      failures: 0,
      steps: [],
    };
    witness.begins(record);
    this.records.push(record);
    entry.replacement = { id: record.id };
    changed(entry);
    this.#run(record.id);
  }

  /** The process has ended. Nothing of it does anything any more; that its sagas are told lets go of the memory that they hold. */
  kill(): void {
    for (const { saga } of this.#running.values()) void saga.stop();
    this.#running = new Map();
  }

  /** A process begins: what was under way is taken up again. */
  boot(): void {
    for (const record of this.records) if (!isEnded(record)) this.#run(record.id);
  }

  /** Something may let one go on. */
  poke(): void {
    for (const { saga, clock } of this.#running.values()) {
      clock.poked();
      saga.poke();
    }
  }

  /** A new machine may join with it just now. */
  tokenWorks(token: string): boolean {
    return this.records.some((record) => !isEnded(record) && record.tokenIds.includes(token));
  }

  #run(id: string): void {
    const { coordinator, policy, random, logger, provisioner, touched, witness, changed } = this.#options;
    const { process } = coordinator;
    if (!process) return;
    const clock = new StretchedClock(process.clock, touched);
    const driver = driverOf(provisioner, { process, coordinator, touched, acts: (action) => witness.acts(id, action) });
    const nextToken = (): string => {
      this.#tokens += 1;
      return `token-${this.#tokens}`;
    };
    const { withdraws, saved } = witness;
    const saga = new ReplacementSaga('simulated', id, {
      ...sagaPorts({ coordinator, records: this.records, withdraws, saved, changed, touched, nextToken }, process),
      provisioners: { get: () => driver, names: () => ['cloud'], close: async () => undefined },
      calls: new ProvisionerCalls({ clock, concurrency: 1 }),
      events: { recordOncePerMinute: () => undefined },
      clock,
      logger,
      random: () => random.draw(),
      policyOf: () => policy,
      confirm: (record) => confirmationOf(this.#options.reconsider(record.node, record.id)),
      isReady: (_cluster, name) => isReady(coordinator, name),
      join: () => ({ endpoints: [], caPins: [] }),
      fault: () => undefined,
    });
    const running = { saga, clock };
    this.#running.set(id, running);
    touched();
    void saga.run().finally(() => {
      if (this.#running.get(id) === running) this.#running.delete(id);
    });
  }
}

/** As the real controller has it. */
function confirmationOf({ kind, reason, message }: Verdict): Confirmation {
  if (kind === 'Due') return { type: 'go' };
  if (kind === 'Held' && reason !== 'Cordoned') return { type: 'wait', message };
  return { type: 'recovered', message };
}

/** The new node holds all that it should, but for being the new node of a replacement. */
function isReady(coordinator: SimulatedCoordinator, name: string): boolean {
  const entry = coordinator.registry.nodes.get(name);
  return entry !== undefined && nextState({ ...factsOf(coordinator, entry), replacing: undefined }, undefined).phase === 'Ready';
}

interface Caller {
  process: Process;
  coordinator: SimulatedCoordinator;
  touched: () => void;
  acts: (action: Action) => void;
}

function driverOf(provisioner: SimulatedProvisioner, { process, coordinator, touched, acts }: Caller): NodeProvisioner {
  const call = (action: Action, { idempotencyKey, node, signal }: ActionCall, token?: string): Promise<ActionReport> => {
    acts(action);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(new EvercertError('DeadlineExceeded', `${action} was broken off`));
      signal.addEventListener('abort', onAbort, { once: true });
      provisioner.call({ action, key: idempotencyKey, node: node.name, ...(token !== undefined && { token }) }, (error) => {
        // The process that has asked is gone: nobody hears the answer.
        if (coordinator.process !== process) return;
        touched();
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) resolve({ message: '' });
        else reject(new EvercertError('Unavailable', error));
      });
    });
  };
  return {
    type: 'simulated',
    sameName: true,
    cordon: (context) => call('cordon', context),
    uncordon: (context) => call('uncordon', context),
    drain: (context) => call('drain', context),
    remove: (context) => call('remove', context),
    allocate: async (context) => {
      await call('allocate', context);
      return { ...context.node, machine: '' };
    },
    create: (context) => call('create', context, context.join.token),
    discard: (context) => call('discard', context),
    close: async () => undefined,
  };
}
