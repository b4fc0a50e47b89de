/** Puts the parts of the agent together. Everything that reaches out of the process is created here or handed in. */
import { randomUUID } from 'node:crypto';
import { hostname, release, type } from 'node:os';
import type { DesiredState, RenewNow } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import { type LogFields, type Logger, withFields } from '@evercert/shared/logging';
import { version } from '@evercert/shared/version';
import { publicKeyPin } from '@evercert/shared/x509';
import { Activator } from './activation/activator.ts';
import { createVerifier } from './activation/verify.ts';
import { answers, watchComponent } from './activation/watch.ts';
import { BundleActivator, createBundleVerifier } from './authorities/index.ts';
import { CertificateInspection } from './certificates/inspection.ts';
import { CertificateManager } from './certificates/manager.ts';
import { outputPaths } from './certificates/paths.ts';
import type { AgentConfig } from './config.ts';
import { Connection } from './connection/connection.ts';
import { desiredStateFromProto, type Report } from './connection/convert.ts';
import { readDesiredCache, writeDesiredCache } from './connection/desired-cache.ts';
import { Endpoints } from './connection/endpoints.ts';
import { createEnrollmentApi } from './connection/enrollment.ts';
import { createRecoveryApi } from './connection/recovery.ts';
import { Reporter } from './connection/reporter.ts';
import { DesiredApplier } from './desired/applier.ts';
import { EventQueue } from './events.ts';
import { createCertificateFiles, createPlainFiles, type PathWatcher, underRoot, watchPaths } from './files/index.ts';
import { createProbe, HealthChecker } from './health/index.ts';
import { ControlTrust } from './identity/control-trust.ts';
import { IdentityStore } from './identity/store.ts';
import { IdentitySupervisor } from './identity/supervisor.ts';
import { readToken, writeToken } from './identity/token.ts';
import { PlainKeepers } from './plain/keepers.ts';
import { type ComponentWatch, createReloader, oneAtATime, StaticPodFiles, StaticPods, shareReloads } from './reload/index.ts';
import { Scanner } from './scan.ts';
import { CounterStore } from './state/counters.ts';
import { createStateFolder } from './state/folder.ts';
import { buildStatus } from './status/build.ts';
import { startStatusServer } from './status/server.ts';
import type { AgentStatus, RecoverOrder } from './status/types.ts';

export interface AgentOptions {
  config: AgentConfig;
  clock: Clock;
  /** In [0, 1). */
  random: () => number;
  logger: Logger;
  env: NodeJS.ProcessEnv;
  pid: number;
  /** Called once, when the agent does its work: what was known from before is in effect, and the loops run. */
  onReady: (status: string) => void;
  /** Called when the one-line summary changes. */
  onStatus: (status: string) => void;
}

/** A scan that has not ended for so long means that the agent hangs. */
const hungScanMs = 90_000;

export class Agent {
  readonly #options: AgentOptions;
  readonly #startedAtMs: number;
  readonly #folder;
  readonly #events: EventQueue;
  readonly #counters: CounterStore;
  readonly #store: IdentityStore;
  readonly #controlTrust: ControlTrust;
  readonly #supervisor: IdentitySupervisor;
  readonly #endpoints: Endpoints;
  readonly #connection: Connection;
  readonly #reporter: Reporter;
  readonly #files;
  readonly #certificates: CertificateManager;
  readonly #activator: Activator;
  readonly #plain: PlainKeepers;
  readonly #staticPods: StaticPods;
  readonly #bundleActivator: BundleActivator;
  readonly #stopping = new AbortController();
  readonly #health: HealthChecker;
  readonly #applier: DesiredApplier;
  readonly #scanner: Scanner;
  #watcher: PathWatcher | undefined;

  constructor(options: AgentOptions) {
    const { config, clock, random, env } = options;
    const logger = withFields(options.logger, () => this.#clusterField());
    this.#options = { ...options, logger };
    const { stateDir, rootDir, pairStrategy } = config;
    const allowedPaths = [...config.allowedPaths];
    const onChange = (): void => this.#changed();
    this.#startedAtMs = clock.nowMs();
    const folder = createStateFolder(stateDir);
    this.#folder = folder;
    const events = new EventQueue({ clock, logger, newId: randomUUID });
    this.#events = events;
    this.#counters = new CounterStore({ folder, logger });
    this.#store = new IdentityStore({ folder, logger, nodeName: config.node.name, caPins: config.coordinator.caPins });
    this.#files = createCertificateFiles({ stateDir, rootDir, allowedPaths, clock, logger, pairStrategy });
    const plainFiles = createPlainFiles({ rootDir, allowedPaths, logger });
    this.#reporter = new Reporter({ clock, random, events, report: () => this.#report() });

    const facts = { hostname: hostname(), addresses: [...config.node.addresses], agentVersion: version, os: `${type()} ${release()}` };
    const { endpoints: configured } = config.coordinator;
    const endpoints = new Endpoints({ configured, nodeName: config.node.name, folder, clock, logger });
    this.#endpoints = endpoints;
    const asked = { endpoints, random, pins: () => this.#store.pins, clock };
    const enrollment = createEnrollmentApi({ ...asked, nodeName: config.node.name, role: config.node.role, facts });
    this.#connection = new Connection({
      endpoints,
      store: this.#store,
      usableIdentity: () => this.#supervisor.usable(),
      enrollment,
      reporter: this.#reporter,
      hello: () => ({ facts, desiredRevision: this.#applier.appliedRevision }),
      timeLeftMs: () => Math.min(this.#certificates.shortestTimeLeftMs(), this.#supervisor.timeLeftMs()),
      clock,
      random,
      logger: logger.child({ node: config.node.name }),
      onDesiredState: (state) => void this.#takeDesired(state),
      onRenewNow: (request) => this.#renewNow(request),
      onConnected: () => {
        this.#supervisor.acceptedByCoordinator();
        this.#connected();
      },
      onIdentityExpired: (serial) => this.#supervisor.expiredByCoordinator(serial),
      onIdentityNotTaken: (serial) => this.#supervisor.notTakenByCoordinator(serial),
      onIdentityRevoked: (serial, error) => this.#supervisor.revokedByCoordinator(serial, error),
      onChange,
    });
    const { api } = this.#connection;
    const presented = (fresh: boolean): Promise<Buffer[]> => this.#connection.presented(fresh);
    this.#controlTrust = new ControlTrust({ store: this.#store, presented, clock, logger, onChange });
    this.#supervisor = new IdentitySupervisor({
      store: this.#store,
      enrollment,
      recovery: createRecoveryApi({ ...asked, trustAnchors: () => this.#store.trustAnchors }),
      api,
      readToken: () => readToken(config),
      nodeName: config.node.name,
      tokenFile: config.tokenFile,
      clock,
      random,
      logger,
      events,
      onIdentity: () => this.#connection.identityChanged(),
      onChange,
    });

    const { folder: manifestFolder, fileCheckPeriod: fileCheckMs } = config.staticPods;
    const watch = (text: string): Promise<ComponentWatch> => watchComponent(text, { rootDir, clock, kill: process.kill });
    const staticPodFiles = new StaticPodFiles({ rootDir, manifestFolder, folder, logger });
    const staticPods = new StaticPods({ files: staticPodFiles, watch, fileCheckMs, clock, logger, events });
    this.#staticPods = staticPods;
    const direct = createReloader({ rootDir, clock, logger, env, staticPods });
    const leased = oneAtATime(direct, {
      api,
      clock,
      random,
      logger,
      events,
      stopped: this.#stopping.signal,
      answers: (url) => answers(url, clock),
    });
    const reload = shareReloads(leased, clock);
    const bundleActivator = new BundleActivator({ reload, verify: createBundleVerifier({ clock }), folder, clock, events, onChange });
    this.#bundleActivator = bundleActivator;
    this.#activator = new Activator({
      reload,
      verify: createVerifier({ clock }),
      clock,
      random,
      logger,
      events,
      setServed: (name, serial, served) => this.#certificates.setServed(name, serial, served),
      setError: (name, error) => this.#certificates.setError(name, 'reload', error),
      setActivated: (name, serial) => this.#counters.update(name, { activatedSerial: serial }),
    });
    this.#certificates = new CertificateManager({
      files: this.#files,
      api,
      clock,
      random,
      logger,
      events,
      counters: this.#counters,
      activate: (certificate, pair) => this.#activator.activate(certificate, pair),
      deactivate: (name) => this.#activator.forget(name),
      onChange,
    });
    this.#plain = new PlainKeepers({ api, files: plainFiles, folder, events, logger, clock, random, reload, bundleActivator, onChange });
    const { bundles, revocationLists, keyPairs } = this.#plain;
    this.#health = new HealthChecker({
      probe: createProbe({ clock }),
      pairOf: (name) => this.#certificates.installed().find(({ pair }) => pair.name === name)?.pair,
      clock,
      logger,
      onChange,
    });
    this.#applier = new DesiredApplier({
      bundles,
      revocationLists,
      keyPairs,
      certificates: this.#certificates,
      healthChecks: this.#health,
      takeTrustAnchors: (anchors, retiredPins) => this.#controlTrust.take(anchors, retiredPins),
      events,
      logger,
      onChange,
    });
    const inspection = new CertificateInspection({
      certificates: this.#certificates,
      files: this.#files,
      events,
      onRestored: (certificate, pair) => this.#activator.recheck(certificate, pair),
    });
    const targets = [
      inspection,
      bundles,
      revocationLists,
      keyPairs,
      { scan: () => this.#scanIdentity() },
      { scan: () => this.#glance() },
      staticPods,
    ];
    this.#scanner = new Scanner({ targets, intervalMs: config.scanInterval, clock, logger });
  }

  /** Runs until the signal aborts, then stops within a few seconds. Errors: what keeps the agent from starting at all (state folder, status socket). */
  async run(signal: AbortSignal): Promise<void> {
    const { config, clock, logger, onReady } = this.#options;
    const status = await startStatusServer(
      config.statusSocket,
      () => this.status(),
      (order) => this.#tryToComeBack(order),
    );
    // Before the connection goes, so that the end of its calls is not taken for failed renewals.
    signal.addEventListener('abort', () => void this.#certificates.stop(), { once: true });
    try {
      await this.#recover();
      this.#watcher = await watchPaths({ paths: () => this.#watchedPaths(), onChange: () => this.#scanner.request(), logger, clock });
      this.#scanner.start();
      this.#events.onEvent(() => this.#reporter.flush());
      onReady(this.#summary());
      await Promise.all([this.#supervisor.run(signal), this.#connection.run(signal)]);
    } finally {
      await this.#stop();
      await status.close();
    }
  }

  /** Looks at all files now. */
  scan(): void {
    this.#certificates.tick();
    this.#scanner.request();
  }

  /** False when the agent's work stands still. */
  alive(): boolean {
    return this.#scanner.idleMs() < Math.max(hungScanMs, 3 * this.#options.config.scanInterval);
  }

  status(): AgentStatus {
    return buildStatus({
      pid: this.#options.pid,
      startedAtMs: this.#startedAtMs,
      identity: this.#supervisor.snapshot(),
      connection: this.#connection.snapshot(),
      report: this.#report(),
      events: { waiting: this.#events.size, dropped: this.#events.dropped },
      controlTrust: { pins: this.#store.trustAnchors.map((anchor) => publicKeyPin(anchor)), lastError: this.#controlTrust.lastError },
    });
  }

  /** Brings back what an earlier run left: interrupted installations, the identity, the desired state. */
  async #recover(): Promise<void> {
    const { logger } = this.#options;
    for (const line of await this.#staticPods.recover())
      logger.warn('An interrupted restart of a static pod was brought to its end', { did: line });
    for (const path of await this.#folder.sweep()) logger.info('A file that a crash left half written was removed', { path });
    for (const line of await this.#files.recover()) logger.info('An interrupted installation was brought to its end', { did: line });
    await this.#counters.load();
    await this.#store.load();
    await this.#endpoints.load();
    const cached = await readDesiredCache(this.#folder, logger);
    if (cached) await this.#applier.apply(desiredStateFromProto(cached));
  }

  async #stop(): Promise<void> {
    // First of all: whatever else takes its time, no static pod stays out.
    this.#stopping.abort();
    await this.#staticPods.stop();
    await this.#watcher?.close();
    await this.#scanner.stop();
    await this.#health.stop();
    this.#reporter.detach();
    this.#plain.keyPairs.stop();
    await Promise.all([this.#certificates.stop(), this.#activator.stop(), this.#bundleActivator.stop()]);
    await this.#counters.flush();
    await this.#endpoints.flush();
  }

  async #takeDesired(state: DesiredState): Promise<void> {
    const { logger } = this.#options;
    try {
      await writeDesiredCache(this.#folder, state);
    } catch (caught) {
      const error = toEvercertError(caught);
      logger.error('The desired state could not be cached; it is in effect until the agent stops', {
        code: error.code,
        error: error.message,
      });
    }
    await this.#applier.apply(desiredStateFromProto(state));
    this.#supervisor.renewalRequested(state.renewIdentitySerial);
    await this.#watcher?.update();
    this.#scanner.request();
  }

  async #tryToComeBack({ token, caPins }: RecoverOrder): Promise<void> {
    const { config, logger } = this.#options;
    logger.info('An administrator at the node asks for a new identity', { byToken: token !== undefined, byPin: caPins !== undefined });
    if (caPins !== undefined) {
      await this.#store.trustOnly(caPins);
      this.#connection.distrusted();
    }
    if (token !== undefined) await writeToken(config.tokenFile, token);
    this.#supervisor.tryNow({ token: token !== undefined });
  }

  #renewNow({ certificates, reason }: RenewNow): void {
    this.#certificates.renewNow(certificates, reason);
  }

  #connected(): void {
    this.#supervisor.wake();
    this.#certificates.connected();
    void this.#plain.keyPairs.connected();
  }

  async #scanIdentity(): Promise<void> {
    for (const file of await this.#store.restore()) {
      this.#events.record({
        reason: 'FileRestored',
        type: 'Warning',
        message: `${file} in the state folder was missing or changed and was put right`,
      });
    }
    await this.#controlTrust.retry();
    this.#certificates.tick();
  }

  /** Components that were not up when they were looked at, or did not serve the certificate, may do so now. */
  async #glance(): Promise<void> {
    const served = new Map(this.#certificates.snapshots().map((snapshot) => [snapshot.name, snapshot.served]));
    const unseen = this.#certificates
      .installed()
      .filter(({ certificate }) => !['', 'Served'].includes(served.get(certificate.spec.name) ?? ''));
    await Promise.all(unseen.map(({ certificate, pair }) => this.#activator.glance(certificate, pair)));
  }

  #watchedPaths(): string[] {
    const certificates = this.#certificates.declared().flatMap(({ spec }) => spec.outputs.flatMap(outputPaths));
    return [...certificates, ...this.#plain.paths()].map((path) => underRoot(this.#options.config.rootDir, path));
  }

  /** Known once the node has joined. */
  #clusterField(): LogFields {
    const cluster = this.#store?.identity?.cluster;
    return cluster === undefined ? {} : { cluster };
  }

  #report(): Report {
    return {
      certificates: this.#certificates.snapshots(),
      ...this.#plain.snapshots(),
      components: this.#health.snapshots(),
      appliedRevision: this.#applier.appliedRevision,
      identitySerial: this.#store.identity?.serial ?? '',
      controlCaPins: this.#store.trustAnchors.map((anchor) => publicKeyPin(anchor)),
    };
  }

  #changed(): void {
    this.#health.setConnected(this.#connection.snapshot().state === 'Connected');
    this.#reporter.changed();
    this.#options.onStatus(this.#summary());
  }

  #summary(): string {
    const snapshots = this.#certificates.snapshots();
    const ready = snapshots.filter(({ state }) => state === 'Ready').length;
    const { state } = this.#connection.snapshot();
    return `identity ${this.#supervisor.snapshot().state}, ${state}, ${ready} of ${snapshots.length} certificates ready`;
  }
}
