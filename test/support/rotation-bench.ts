import { randomBytes } from 'node:crypto';
import {
  type CertificateRecord,
  decodeRecord,
  type EventRecord,
  EventRecorder,
  encodeRecord,
  layout,
  Model,
  type NodeRecord,
  NodeRegistry,
} from '@evercert/coordinator';
import { Authorities, type AuthorityRecord, generationsOf } from '@evercert/coordinator/ca';
import type { KeyProvider, Signer } from '@evercert/coordinator/keys';
import { Revocations } from '@evercert/coordinator/revocation';
import {
  AuthorityCare,
  hasEnded,
  type RotationOrder,
  RotationOutlook,
  RotationRecords,
  RotationRunner,
  Rotations,
  type RotationView,
} from '@evercert/coordinator/rotation';
import { type Compare, type Operation, openSqliteStore, type Store } from '@evercert/coordinator/store';
import type { StatusReport } from '@evercert/proto';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { defaultClusterPolicy, type IssuerName, type RoleName, type RotationPolicy } from '@evercert/shared/manifest';
import { generateKeyPair, type KeyAlgorithm, signerFor } from '@evercert/shared/x509';

export const cluster = 'demo';
export const admin = 'admin/root';
const awayAfterMs = 60_000;
const lifeMs = 3600_000;

/** Keys in memory. */
class MemoryKeys implements Pick<KeyProvider, 'generate' | 'signer' | 'delete'> {
  readonly held = new Map<string, Signer>();

  async generate(id: string, algorithm: KeyAlgorithm): Promise<Signer> {
    const { privateKey } = await generateKeyPair(algorithm);
    const signer = signerFor(privateKey) as Signer;
    this.held.set(id, signer);
    return signer;
  }

  async signer(id: string): Promise<Signer> {
    const found = this.held.get(id);
    if (!found) throw new EvercertError('NotFound', `no key ${id}`);
    return found;
  }

  async delete(id: string): Promise<void> {
    this.held.delete(id);
  }
}

/** A node whose agent the test moves. */
export interface BenchNode {
  name: string;
  role: RoleName;
  on: boolean;
  /** Monotonic, of the last sign of life. */
  heardMs: number;
  /** Base64 DER of what it trusts, and the version of that. */
  trusts: readonly string[];
  version: number;
  leaf: { serial: string; issuerSerial: string; issuedAtMs: number; notAfterMs: number } | undefined;
  /** What it said last. */
  report: StatusReport | undefined;
  /** Something in its report is otherwise. */
  says: Partial<{ served: string; servedMessage: string; bundleError: string; reloadOwed: boolean; certificateError: string }>;
}

export interface BenchOptions {
  nodes?: Record<string, RoleName>;
  policy?: Partial<RotationPolicy>;
  authority?: IssuerName;
  /** The bundle's component is looked at, or told. */
  looked?: boolean;
  reloads?: boolean;
}

/** Breaks off what a leader does, as the end of its process does. */
class Crash extends Error {}

/** Rotations over a real store, with agents that exist in memory, and time that stands still until the test moves it. */
export class RotationBench {
  readonly clock = new FakeClock();
  readonly keys = new MemoryKeys();
  readonly nodes = new Map<string, BenchNode>();
  readonly ca: IssuerName;
  /** The process ends at this place. */
  crashAt: string | undefined;
  readonly passed: string[] = [];
  parts!: Awaited<ReturnType<RotationBench['open']>>;
  store!: Store;
  /** Of the leader: its store refuses it once another leads. */
  #term = 0;
  readonly #options: BenchOptions;

  constructor(options: BenchOptions) {
    this.#options = options;
    this.ca = options.authority ?? 'cluster-ca';
  }

  static async start(options: BenchOptions = {}): Promise<RotationBench> {
    const bench = new RotationBench(options);
    bench.store = await openSqliteStore({ file: ':memory:', clock: bench.clock, logger: silentLogger });
    await bench.#seed();
    bench.parts = await bench.open();
    return bench;
  }

  async close(): Promise<void> {
    await this.parts.stop();
    await this.store.close();
  }

  async #seed(): Promise<void> {
    const { nodes = { 'cp-1': 'control-plane', 'w-1': 'worker', 'w-2': 'worker' } } = this.#options;
    const authorities = this.#authorities();
    const rotation = { automatic: false, beforeSeconds: 365 * 86_400, maxConcurrent: 50, settleSeconds: 0, ...this.#options.policy };
    await this.put(layout.cluster(cluster), { name: cluster, uid: 'u', createdAtMs: 0, policy: { ...defaultClusterPolicy, rotation } });
    for (const name of ['cluster-ca', 'etcd-ca'] as const)
      await this.put(layout.authority(cluster, name), await authorities.create(cluster, name, 'ecdsa-p256'));
    for (const [name, role] of Object.entries(nodes)) await this.addNode(name, role);
  }

  async addNode(name: string, role: RoleName): Promise<void> {
    const node: NodeRecord = {
      cluster,
      name,
      role,
      labels: {},
      registeredAddresses: [],
      claimedAddresses: [],
      dnsNames: [],
      createdAtMs: this.clock.nowMs(),
      identitySerials: ['aa'],
      identityNotAfterMs: this.clock.nowMs() + lifeMs,
      renewIfIssuedBeforeMs: {},
    };
    await this.put(layout.node(cluster, name), node);
    this.nodes.set(name, {
      name,
      role,
      on: true,
      heardMs: this.clock.monotonicMs(),
      trusts: [],
      version: 0,
      leaf: undefined,
      report: undefined,
      says: {},
    });
    await this.obey(name);
  }

  #authorities(): Authorities {
    return new Authorities({ keys: this.keys as unknown as KeyProvider, clock: this.clock, backdateMs: 0 });
  }

  /** What a process has in memory, and a leader in it. */
  async open() {
    const { clock } = this;
    const logger = silentLogger;
    this.#term += 1;
    const fenced = this.#fenced(this.#term);
    const events = new EventRecorder(this.store, clock, logger);
    const model = new Model(this.store, logger);
    const revocations = new Revocations({ store: this.store, logger, clock });
    const accept = (authority: AuthorityRecord, revision: number): void =>
      model.authorities.accept(layout.authority(authority.cluster, authority.name), authority, revision);
    const records = new RotationRecords({ store: this.store, accept, events, logger });
    const read = [model, revocations, records];
    await Promise.all(read.map((part) => part.start()));
    const controlPolicy = { automatic: false, beforeSeconds: 1, maxConcurrent: 50, settleSeconds: 0 };
    const outlook = new RotationOutlook({
      model,
      desired: { plan: (_cluster, name) => this.#plan(model, name) } as ConstructorParameters<typeof RotationOutlook>[0]['desired'],
      statuses: { get: (_cluster, name) => ({ report: this.nodes.get(name)?.report, lastSeenAtMs: clock.nowMs() }) },
      silentMs: (_cluster, name) => clock.monotonicMs() - (this.nodes.get(name)?.heardMs ?? 0),
      revocations,
      awayAfterMs,
      behindAfterMs: 120_000,
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      authority: (of, name) => model.authority(of, name),
      adminLifetimeMs: lifeMs,
      controlPolicy,
      published: () => undefined,
    });
    const authorities = this.#authorities();
    const newId = (): string => `ro-${randomBytes(5).toString('hex')}`;
    const rotations = new Rotations({ records, outlook, authorities, everyAuthority: () => model.authorities.list(), model, clock, newId });
    const shared = { records, authorities, model, store: fenced, clock, logger, newId };
    const runner = new RotationRunner({
      ...shared,
      outlook,
      registry: new NodeRegistry({ store: fenced, model, events }),
      random: () => 0.5,
      fault: (name) => this.#pass(name),
    });
    const care = new AuthorityCare({ ...shared, events, controlPolicy, everyMs: 600_000 });
    const stop = async (): Promise<void> => {
      await Promise.all(read.map((part) => part.stop()));
    };
    return { model, records, outlook, rotations, runner, care, revocations, stop };
  }

  /** Another coordinator leads from here on; the one before may go on for a while without knowing it. */
  async takeOver(): Promise<() => Promise<void>> {
    this.crashAt = undefined;
    const { parts } = this;
    this.parts = await this.open();
    return async () => {
      await parts.runner.look().catch(() => {});
      await parts.stop();
    };
  }

  /** One look of the leader; true: its process has ended in it. */
  async look(): Promise<boolean> {
    const before = this.passed.length;
    await this.settled();
    await this.parts.runner.look();
    return this.crashAt !== undefined && this.passed.slice(before).includes(this.crashAt);
  }

  /** What was written is in memory. */
  async settled(): Promise<void> {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  get authority(): AuthorityRecord {
    const found = this.parts.model.authority(cluster, this.ca);
    if (!found) throw new Error('there is no such CA');
    return found;
  }

  /** The CA as the store has it, with its revision. */
  async read(): Promise<{ record: AuthorityRecord; modRevision: number }> {
    const key = layout.authority(cluster, this.ca);
    const entry = await this.store.get(key);
    return { record: decodeRecord<AuthorityRecord>(key, entry!.value), modRevision: entry!.modRevision };
  }

  async stored(): Promise<AuthorityRecord> {
    const key = layout.authority(cluster, this.ca);
    const entry = await this.store.get(key);
    return decodeRecord<AuthorityRecord>(key, entry!.value);
  }

  async rotate(order: Partial<RotationOrder> = {}): Promise<RotationView> {
    const whole = { cluster, authorities: [this.ca], reason: 'requested' as const, note: '', intermediate: false, dryRun: false, ...order };
    return (await this.parts.rotations.rotate(whole, admin)).rotations[0]!;
  }

  view(id: string): RotationView {
    return this.parts.rotations.view(this.parts.records.find(id));
  }

  node(name: string): BenchNode {
    const found = this.nodes.get(name);
    if (!found) throw new Error(`there is no node ${name}`);
    return found;
  }

  isAway({ heardMs }: BenchNode): boolean {
    return this.clock.monotonicMs() - heardMs > awayAfterMs;
  }

  switchOff(name: string): void {
    this.node(name).on = false;
  }

  switchOn(name: string): void {
    Object.assign(this.node(name), { on: true, heardMs: this.clock.monotonicMs() });
  }

  /** A node's agent does all that it is told to, and says so. */
  async obey(name: string): Promise<void> {
    await this.trust(name);
    await this.renew(name);
    this.say(name);
  }

  /** Takes the bundle as the store has it. */
  async trust(name: string): Promise<void> {
    const node = this.node(name);
    if (!node.on) return;
    const { bundle, bundleVersion } = await this.stored();
    Object.assign(node, { trusts: bundle, version: bundleVersion, heardMs: this.clock.monotonicMs() });
  }

  /** Where its certificate is due, or asked for. `by`: as the coordinator that it asks knows the CA, which may be a while ago. False: refused. */
  async renew(name: string, by?: { record: AuthorityRecord; modRevision: number }): Promise<boolean> {
    const node = this.node(name);
    const key = layout.node(cluster, name);
    const entry = await this.store.get(key);
    if (!node.on || !entry) return false;
    const marks = decodeRecord<NodeRecord>(key, entry.value).renewIfIssuedBeforeMs;
    const nowMs = this.clock.nowMs();
    const { leaf } = node;
    const due = leaf === undefined || leaf.issuedAtMs < (marks['kubelet'] ?? 0) || nowMs > leaf.issuedAtMs + (lifeMs * 2) / 3;
    if (!due) return true;
    const authorityKey = layout.authority(cluster, this.ca);
    const now = await this.store.get(authorityKey);
    const { record, modRevision } = by ?? {
      record: decodeRecord<AuthorityRecord>(authorityKey, now!.value),
      modRevision: now!.modRevision,
    };
    const issued = { serial: randomBytes(16).toString('hex'), issuerSerial: record.serial, issuedAtMs: nowMs, notAfterMs: nowMs + lifeMs };
    const certificate = { cluster, node: name, name: 'kubelet', issuer: this.ca, ...issued } as CertificateRecord;
    const { succeeded } = await this.store.transact(
      [{ key: authorityKey, modRevision }],
      [
        { type: 'put', key: layout.certificate(cluster, issued.serial), value: encodeRecord(certificate) },
        { type: 'put', key: layout.current(cluster, name, 'kubelet'), value: encodeRecord({ ...issued, issuer: this.ca, specHash: '' }) },
      ],
    );
    if (succeeded) {
      this.onIssue?.(node, record);
      node.leaf = issued;
    }
    node.heardMs = this.clock.monotonicMs();
    return succeeded;
  }

  /** Whether or not it is due. */
  async renewNow(name: string): Promise<void> {
    this.node(name).leaf = undefined;
    await this.renew(name);
  }

  /** Called with each issue, by which CA it is. */
  onIssue: ((node: BenchNode, authority: AuthorityRecord) => void) | undefined;

  say(name: string): void {
    const node = this.node(name);
    if (!node.on) return;
    const { looked = false } = this.#options;
    const { served = looked ? 'Served' : '', servedMessage = '', bundleError = '', reloadOwed = false, certificateError = '' } = node.says;
    node.heardMs = this.clock.monotonicMs();
    node.report = {
      certificates: node.leaf
        ? [{ name: 'kubelet', state: 'Ready', serial: node.leaf.serial, lastError: certificateError, served: '' }]
        : [],
      bundles: [
        { name: 'ca', issuer: this.ca, version: node.version, state: 'Ready', lastError: bundleError, served, servedMessage, reloadOwed },
      ],
      appliedRevision: String(node.version),
      identitySerial: '',
      controlCaPins: [],
    } as unknown as StatusReport;
  }

  async obeyAll(): Promise<void> {
    for (const name of this.nodes.keys()) await this.obey(name);
  }

  /** Everybody does what he is told to, and time passes, until it is so. */
  async until(isSo: () => boolean, mostMs = 10 * lifeMs): Promise<void> {
    const end = this.clock.monotonicMs() + mostMs;
    while (!isSo()) {
      if (this.clock.monotonicMs() > end)
        throw new Error(
          `it did not come to that: ${JSON.stringify(this.parts.records.list('').map(({ id, stage, lastError }) => ({ id, stage, lastError })))}`,
        );
      await this.look();
      if (isSo()) return;
      await this.obeyAll();
      await this.clock.advance(1000);
    }
  }

  async ended(id: string, mostMs?: number): Promise<RotationView> {
    await this.until(() => hasEnded(this.view(id).record), mostMs);
    return this.view(id);
  }

  async reaches(id: string, stage: string): Promise<RotationView> {
    await this.until(() => this.view(id).record.stage === stage);
    return this.view(id);
  }

  async events(): Promise<EventRecord[]> {
    const { entries } = await this.store.range({ prefix: layout.eventsOf(cluster) });
    return entries.map(({ key, value }) => decodeRecord<EventRecord>(key, value));
  }

  async put(key: string, record: object): Promise<void> {
    await this.store.transact([], [{ type: 'put', key, value: encodeRecord(record) }]);
  }

  /** Keys of generations that are in use, or may be. */
  missingKeys(authority: AuthorityRecord): string[] {
    return generationsOf(authority)
      .filter(({ keyDestroyed, generation }) => !keyDestroyed && !this.keys.held.has(generation.keyId))
      .map(({ generation }) => generation.serial);
  }

  /** A runner that has come to its end does nothing more. */
  #pass(name: string): void {
    this.passed.push(name);
    if (name !== this.crashAt) return;
    this.#term += 1;
    throw new Crash(name);
  }

  #fenced(term: number): Store {
    const check = (): void => {
      if (term !== this.#term) throw new EvercertError('NotLeader', 'another one leads');
    };
    const { store } = this;
    return {
      shared: true,
      get: (key) => store.get(key),
      range: (options) => store.range(options),
      transact: (compares: Compare[], operations: Operation[]) => {
        check();
        return store.transact(compares, operations);
      },
    } as Store;
  }

  #plan(model: Model, name: string): unknown {
    const authority = model.authority(cluster, this.ca);
    if (!authority || !this.nodes.has(name)) return undefined;
    const { looked = false, reloads = false } = this.#options;
    return {
      resolved: { certificates: [{ name: 'kubelet', issuer: this.ca }] },
      desired: {
        revision: String(authority.bundleVersion),
        bundles: [
          {
            name: 'ca',
            issuer: this.ca,
            version: authority.bundleVersion,
            file: { path: '/etc/kubernetes/pki/ca.crt' },
            verify: looked ? 'tls://127.0.0.1:6443' : '',
            reload: reloads ? {} : undefined,
          },
        ],
      },
    };
  }
}
