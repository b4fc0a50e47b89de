import {
  type CertificateRecord,
  type ClusterRecord,
  decodeRecord,
  type EventRecord,
  EventRecorder,
  encodeRecord,
  layout,
  Model,
  type NodeRecord,
  NodeRegistry,
  NodeStatuses,
  TokenAdmin,
} from '@evercert/coordinator';
import { provisionersOf } from '@evercert/coordinator/provisioning';
import {
  type Confirmation,
  NodeRemoval,
  NodeSwap,
  ProvisionerCalls,
  RemovedNodes,
  ReplacementPauses,
  type ReplacementRecord,
  ReplacementRecords,
  ReplacementSaga,
} from '@evercert/coordinator/replacement';
import { Revocations } from '@evercert/coordinator/revocation';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { defaultClusterPolicy, defaultReplacementPolicy, type ReplacementPolicy } from '@evercert/shared/manifest';
import { FakeProvisioner, type FakeProvisionerOptions } from './fake-provisioner.ts';

export const cluster = 'demo';
export const oldNode = 'w-1';
export const replacementId = 'rp-abcdefghij';

export interface SagaBenchOptions extends Omit<FakeProvisionerOptions, 'onCreate'> {
  policy?: Partial<ReplacementPolicy>;
  /** What happens to a new machine; by default its node joins and is Ready. */
  machine?: (attempt: number) => 'ready' | 'joins' | 'dead';
}

/** One replacement over a real store, with time that stands still until the test moves it, and machines that exist in memory. */
export class SagaBench {
  readonly clock = new FakeClock();
  readonly provisioner: FakeProvisioner;
  readonly ready = new Set<string>();
  /** The next answers to the last question before the removal; then always `go`. */
  readonly confirmations: Confirmation[] = [];
  asked = 0;
  /** The process ends at this place, once. */
  crashAt: string | undefined;
  readonly passed: string[] = [];
  parts!: Awaited<ReturnType<SagaBench['open']>>;
  #store!: Store;
  #crashed: (() => void) | undefined;
  #serial = 0;
  readonly #options: SagaBenchOptions;

  constructor(options: SagaBenchOptions) {
    this.#options = options;
    this.provisioner = new FakeProvisioner({
      machines: [oldNode],
      ...options,
      onCreate: ({ name }) => this.#machineMade(name),
    });
  }

  static async start(options: SagaBenchOptions = {}): Promise<SagaBench> {
    const bench = new SagaBench(options);
    bench.#store = await openSqliteStore({ file: ':memory:', clock: bench.clock, logger: silentLogger });
    await bench.#seed();
    bench.parts = await bench.open();
    return bench;
  }

  get store(): Store {
    return this.#store;
  }

  get record(): ReplacementRecord {
    const record = this.parts.records.get(cluster, replacementId)?.record;
    if (!record) throw new Error('there is no such replacement');
    return record;
  }

  node(name = oldNode): NodeRecord | undefined {
    return this.parts.model.node(cluster, name);
  }

  /** Lets time pass until it is so. */
  async until(isSo: () => boolean, mostMs = 24 * 3600_000): Promise<void> {
    const end = this.clock.monotonicMs() + mostMs;
    while (!isSo()) {
      if (this.clock.monotonicMs() > end) throw new Error(`it did not come to that: ${JSON.stringify(this.record)}`);
      await this.clock.advance(500);
    }
  }

  async ended(): Promise<ReplacementRecord> {
    await this.until(() => this.record.finishedAtMs !== undefined);
    return this.record;
  }

  /** The process is gone in the midst of it; another takes over. */
  async takeOver(): Promise<void> {
    this.crashAt = undefined;
    await this.parts.stopReading();
    this.parts = await this.open();
  }

  /** Runs until the process has ended at a place; false: it never came there. */
  async crash(at: string): Promise<boolean> {
    this.crashAt = at;
    let crashed = false;
    this.#crashed = () => {
      crashed = true;
    };
    await this.until(() => crashed || this.record.finishedAtMs !== undefined);
    return crashed;
  }

  async cancel(by = 'admin/root'): Promise<void> {
    await this.parts.records.update(cluster, replacementId, ({ nextAttemptAtMs: _none, ...record }) => ({
      record: { ...record, failures: 0, cancel: { by, atMs: this.clock.nowMs(), reason: '' } },
    }));
    this.parts.saga.interrupt();
  }

  async events(): Promise<EventRecord[]> {
    const { entries } = await this.#store.range({ prefix: layout.eventsOf(cluster) });
    return entries.map(({ key, value }) => decodeRecord<EventRecord>(key, value));
  }

  async put(key: string, record: object): Promise<void> {
    await this.#store.transact([], [{ type: 'put', key, value: encodeRecord(record) }]);
  }

  async close(): Promise<void> {
    await this.parts.saga.stop();
    await this.parts.stopReading();
    await this.#store.close();
  }

  /** What a process has in memory, and a runner in it. */
  async open() {
    const { clock } = this;
    const store = this.#store;
    const logger = silentLogger;
    const events = new EventRecorder(store, clock, logger);
    const model = new Model(store, logger);
    const revocations = new Revocations({ store, logger, clock });
    const records = new ReplacementRecords({ store, logger });
    const pauses = new ReplacementPauses({ store, model, events, clock, logger });
    const removed = new RemovedNodes({ store, clock, events, logger });
    const read = [model, revocations, records, pauses, removed];
    await Promise.all(read.map((part) => part.start()));
    const registry = new NodeRegistry({ store, model, events });
    const statuses = new NodeStatuses({ store, clock, logger });
    const desired = { plan: () => undefined } as unknown as ConstructorParameters<typeof NodeRemoval>[0]['desired'];
    const removal = new NodeRemoval({ store, model, registry, desired, statuses, revocations, removed, events, clock });
    const tokens = new TokenAdmin({ store, model, events, clock });
    const swap = new NodeSwap({ registry, model, removal, tokens, pauses, events, clock });
    const policy: ReplacementPolicy = { ...defaultReplacementPolicy, provisioner: 'fake', ...this.#options.policy };
    const saga = new ReplacementSaga(cluster, replacementId, {
      records,
      swap,
      model,
      pauses,
      provisioners: provisionersOf(new Map([['fake', this.provisioner]])),
      calls: new ProvisionerCalls({ clock, concurrency: 4 }),
      events,
      clock,
      logger,
      random: () => 0.5,
      policyOf: () => policy,
      confirm: () => {
        this.asked += 1;
        return this.confirmations.shift() ?? { type: 'go' };
      },
      isReady: (_cluster, name) => this.ready.has(name),
      join: () => ({ endpoints: ['coordinator.example.com:7443'], caPins: ['sha256:00'] }),
      fault: (name) => this.#pass(name),
    });
    const stopReading = async (): Promise<void> => {
      await Promise.all(read.map((part) => part.stop()));
    };
    void saga.run();
    return { model, registry, records, pauses, removed, revocations, removal, saga, stopReading };
  }

  /** A runner that has come to its end hangs there for ever, as a process that is gone does nothing more. */
  #pass(name: string): void | Promise<void> {
    this.passed.push(name);
    if (name !== this.crashAt) return;
    this.#crashed?.();
    return new Promise(() => {});
  }

  #machineMade(name: string): void {
    const fate = this.#options.machine?.(this.record.attempt) ?? 'ready';
    if (fate === 'dead') return;
    this.clock.after(2000, () => {
      // A machine that was switched off meanwhile says nothing any more.
      if (!this.provisioner.machines.includes(name)) return;
      void this.joins(name).then(() => {
        if (fate === 'ready') this.clock.after(3000, () => this.ready.add(name));
      });
    });
  }

  /** As enrollment does it. */
  async joins(name: string): Promise<void> {
    this.#serial += 1;
    const serial = `aa0000000000000000000000000000${String(this.#serial).padStart(2, '0')}`;
    await this.put(layout.certificate(cluster, serial), this.#certificate(name, serial));
    await this.parts.registry.update(cluster, name, (node) => ({ ...node, identitySerials: [serial] }));
  }

  #certificate(node: string, serial: string, change: Partial<CertificateRecord> = {}): Partial<CertificateRecord> {
    const issuedAtMs = this.clock.nowMs();
    return {
      cluster,
      node,
      name: 'identity',
      issuer: 'control-ca',
      serial,
      commonName: node,
      organizations: [],
      dnsNames: [],
      ipAddresses: [],
      uris: [`spiffe://${cluster}.evercert/node/${node}`],
      issuedAtMs,
      notAfterMs: issuedAtMs + 3600_000,
      ...change,
    };
  }

  async #seed(): Promise<void> {
    const nowMs = this.clock.nowMs();
    await this.put(layout.cluster(cluster), {
      name: cluster,
      uid: 'u',
      createdAtMs: nowMs,
      policy: defaultClusterPolicy,
    } satisfies ClusterRecord);
    const node: NodeRecord = {
      cluster,
      name: oldNode,
      role: 'worker',
      labels: { zone: 'a' },
      registeredAddresses: ['192.0.2.1'],
      claimedAddresses: ['10.0.0.1'],
      dnsNames: ['w-1.example.com'],
      createdAtMs: nowMs,
      identitySerials: ['11'.repeat(16), '10'.repeat(16)],
      identityNotAfterMs: nowMs,
      renewIfIssuedBeforeMs: {},
      replacement: { id: replacementId },
    };
    await this.put(layout.node(cluster, oldNode), node);
    for (const address of [...node.registeredAddresses, ...node.claimedAddresses])
      await this.put(layout.address(cluster, address), { node: oldNode });
    await this.put(layout.certificate(cluster, '11'.repeat(16)), this.#certificate(oldNode, '11'.repeat(16), { notAfterMs: nowMs - 1 }));
    const kubelet = { name: 'kubelet-client', issuer: 'cluster-ca', uris: [] };
    await this.put(layout.certificate(cluster, '12'.repeat(16)), this.#certificate(oldNode, '12'.repeat(16), kubelet));
    await this.put(layout.certificate(cluster, '13'.repeat(16)), this.#certificate('w-2', '13'.repeat(16), kubelet));
    await this.put(layout.current(cluster, oldNode, 'kubelet-client'), {
      serial: '12'.repeat(16),
      issuedAtMs: nowMs,
      notAfterMs: nowMs + 3600_000,
      specHash: '',
    });
    const record: ReplacementRecord = {
      cluster,
      id: replacementId,
      node: oldNode,
      newNode: '',
      machine: '',
      provisioner: 'fake',
      state: 'Running',
      step: 'Cordon',
      attempt: 1,
      reason: 'its certificates have expired',
      message: '',
      facts: { labels: node.labels, registeredAddresses: node.registeredAddresses, dnsNames: node.dnsNames },
      tokenIds: [],
      createdAtMs: nowMs,
      failures: 0,
      steps: [],
    };
    await this.put(layout.replacement(cluster, replacementId), record);
  }
}
