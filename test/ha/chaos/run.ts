/** Several coordinators on several etcd members under many agents, while one of them is killed every so often; then the judge. */
import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ActionJournal, type AdminApi, type MachineApi, pause, serveMachines, waitUntil } from '@evercert/local';
import { ClusterSpec, CreateTokenRequest, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { Coordinators } from '../../support/coordinators.ts';
import { temporaryFolder } from '../../support/live.ts';
import { repositoryRoot, run } from '../../support/tools.ts';
import { AgentHosts } from './agent-hosts.ts';
import { CpuMeter } from './cpu.ts';
import { Elections } from './elections.ts';
import { Fleet, RecordingHost } from './fleet.ts';
import { Killer, untilWhole } from './killer.ts';
import { Recorder } from './recorder.ts';
import { type ChaosSummary, summarize } from './summary.ts';

export type { ChaosSummary } from './summary.ts';

export interface ChaosOptions {
  minutes: number;
  agents: number;
  /** Processes in which they live. */
  hosts: number;
  seed: number;
  killEverySeconds: number;
  leafSeconds: number;
  /** A worker is switched off every so often, so that it is replaced; 0: never. */
  breakEverySeconds: number;
  tell: (text: string) => void;
}

const cluster = 'chaos';
const provisioner = 'hosted';
/** As it is by default. */
const defaults = { leadership: { leaseTtl: '10s' }, heartbeatInterval: '10s', unreachableAfter: '40s' };
/** Agents that are started at a time. */
const batch = 20;
const readyTimeoutMs = 300_000;

/** Everything that a run has open. */
class Run {
  readonly options: ChaosOptions;
  readonly folder: string;
  readonly history: string;
  readonly coordinators: Coordinators;
  readonly hosts: AgentHosts;
  readonly recorder: Recorder;
  readonly fleet: Fleet;
  #machines: { api: MachineApi; host: RecordingHost } | undefined;

  constructor(options: ChaosOptions, coordinators: Coordinators, folder: string) {
    this.options = options;
    this.coordinators = coordinators;
    this.folder = folder;
    this.history = join(folder, 'history');
    mkdirSync(join(folder, 'logs'));
    this.recorder = new Recorder(join(this.history, 'machines'));
    this.hosts = new AgentHosts(options.hosts, join(folder, 'logs'));
    const record = join(this.history, 'provisioner.jsonl');
    this.fleet = new Fleet({ folder: join(folder, 'machines'), hosts: this.hosts, recorder: this.recorder, record });
  }

  async serveMachines(): Promise<void> {
    const journal = await ActionJournal.open(join(this.folder, 'journal.json'));
    const host = new RecordingHost({ cluster, keeper: this.fleet, journal });
    this.#machines = { host, api: await serveMachines(machinesSocket(this.folder), host) };
  }

  /** No machine is made or removed any more. */
  async stopMachines(): Promise<void> {
    await this.#machines?.api.close();
    await this.#machines?.host.close();
    this.#machines = undefined;
  }

  async close(): Promise<void> {
    await this.stopMachines();
    await this.hosts.close();
    await this.recorder.close();
    await this.coordinators.dispose();
  }
}

/** Errors: whatever keeps the run from being one. What it has found is told in the summary. */
export async function runChaos(options: ChaosOptions): Promise<ChaosSummary> {
  const folder = temporaryFolder('chaos');
  const provisioners = { [provisioner]: { type: 'process', socket: machinesSocket(folder) } };
  const coordinators = await Coordinators.start({ etcd: { lifetimeSeconds: 7200 }, config: { provisioners, ...defaults } }).catch(
    (error: unknown) => {
      rmSync(folder, { recursive: true });
      throw error;
    },
  );
  const all = new Run(options, coordinators, folder);
  let keep = true;
  try {
    await begin(all);
    const summary = await suffer(all);
    keep = summary.problems.length > 0;
    if (keep) options.tell(`everything of this run is in ${folder} and ${coordinators.folder.logs}`);
    return summary;
  } finally {
    await all.close();
    if (!keep) rmSync(folder, { recursive: true, force: true });
  }
}

function machinesSocket(folder: string): string {
  return join(folder, 'machines.sock');
}

/** Resolves when all agents hold all of their certificates. */
async function begin(all: Run): Promise<void> {
  const { options, coordinators, fleet, hosts } = all;
  const admin = await coordinators.admin();
  await admin.createCluster(cluster, clusterSpec(options));
  const { token, caPin } = await admin.call(
    admin.client.createToken,
    CreateTokenRequest.fromPartial({ cluster, role: Role.WORKER, maxUses: 0, lifetime: { seconds: 7200, nanos: 0 } }),
  );
  const join_ = { token, endpoints: coordinators.addresses, caPins: [caPin] };
  const names = Array.from({ length: options.agents }, (_, index) => `w-${String(index + 1).padStart(3, '0')}`);
  for (let index = 0; index < names.length; index += batch) {
    const some = names.slice(index, index + batch);
    await Promise.all(some.map((name) => fleet.begin(name, join_)));
    const wanted = index + some.length;
    await waitUntil(systemClock, async () => (await hosts.statistics()).ready >= wanted - 2, {
      timeoutMs: readyTimeoutMs,
      what: `${wanted} agents to be ready`,
      pollMs: 500,
    });
  }
  await untilReady(all);
  // From now on: it takes those that are there into its books.
  await all.serveMachines();
  options.tell(`${options.agents} agents are ready: ${JSON.stringify((await hosts.statistics()).connectedTo)}`);
}

function clusterSpec({ leafSeconds }: ChaosOptions): ClusterSpec {
  return ClusterSpec.fromPartial({
    nodeAddressRanges: ['127.0.0.0/8'],
    leafLifetimeSeconds: leafSeconds,
    identityLifetimeSeconds: leafSeconds,
    replacement: {
      provisioner,
      mode: 'active',
      graceSeconds: 5,
      maxUnhealthy: '30%',
      maxConcurrent: 3,
      maxPerHour: 120,
      drainTimeoutSeconds: 10,
      joinTimeoutSeconds: 60,
      backoffSeconds: 10,
      maxBackoffSeconds: 60,
    },
  });
}

async function untilReady({ hosts, fleet }: Run): Promise<void> {
  const ready = async (): Promise<boolean> => (await hosts.statistics()).ready === fleet.on.length;
  await waitUntil(systemClock, ready, { timeoutMs: readyTimeoutMs, what: 'all agents to be ready', pollMs: 500 });
}

async function suffer(all: Run): Promise<ChaosSummary> {
  const { options, coordinators, hosts } = all;
  const { minutes, seed, killEverySeconds, tell } = options;
  const before = await hosts.statistics();
  const store = await coordinators.etcd.openStore();
  const elections = new Elections(store);
  const random = seeded(seed);
  const killer = new Killer({ coordinators, random: seeded(seed + 1), everyMs: killEverySeconds * 1000, downMs: [2000, 6000], tell });
  const over = new AbortController();
  const beganMs = systemClock.monotonicMs();
  const timer = systemClock.after(minutes * 60_000, () => over.abort());
  const switchedOff: string[] = [];
  const cpu = new CpuMeter(() => ({
    coordinators: coordinators.all.map(({ process }) => process.pid),
    etcd: coordinators.etcd.members.map(({ pid }) => pid),
    agents: hosts.pids,
  }));
  await Promise.all([
    killer.run(over.signal),
    breakSome(all, random, switchedOff, over.signal),
    tellProgress(all, over.signal),
    cpu.run(over.signal),
  ]);
  timer.cancel();
  const seconds = (systemClock.monotonicMs() - beganMs) / 1000;
  tell('no more kills: everything comes back');
  await untilWhole(coordinators);
  await untilReady(all).catch((error: unknown) => killer.troubles.push(error instanceof Error ? error.message : String(error)));
  const after = await hosts.statistics();
  await all.stopMachines();
  await hosts.stopAll();
  await all.recorder.close();
  await elections.close();
  await exportHistory(all, store);
  await store.close();
  const verdict = await judge(all.history);
  return summarize({ options, before, after, killer, elections, cpu: cpu.seconds, switchedOff, seconds, verdict });
}

/** Switches a worker off every so often, as a power cut does: it is to be replaced once its certificates have ended. */
async function breakSome({ options, fleet }: Run, random: () => number, switchedOff: string[], signal: AbortSignal): Promise<void> {
  const { breakEverySeconds, tell } = options;
  if (breakEverySeconds <= 0) return;
  for (;;) {
    await pause(systemClock, breakEverySeconds * 1000, signal);
    if (signal.aborted) return;
    const { on } = fleet;
    const victim = on[Math.floor(random() * on.length)];
    if (victim === undefined) continue;
    await fleet.switchOff(victim);
    switchedOff.push(victim);
    tell(`switched ${victim} off`);
  }
}

async function tellProgress({ hosts, fleet, options }: Run, signal: AbortSignal): Promise<void> {
  for (;;) {
    await pause(systemClock, 30_000, signal);
    if (signal.aborted) return;
    const { ready, running, connectedTo, failedCalls, failuresByCode } = await hosts.statistics();
    options.tell(
      `${ready} of ${running} agents ready, ${fleet.list().length} machines, ${failedCalls} failed calls ${JSON.stringify(failuresByCode)}, ${JSON.stringify(connectedTo)}`,
    );
  }
}

/** The audit log as an admin exports it, and the certificates' records as the store has them. */
async function exportHistory({ history, coordinators }: Run, store: Awaited<ReturnType<Coordinators['etcd']['openStore']>>): Promise<void> {
  const path = join(history, 'store.jsonl');
  writeFileSync(path, '');
  let records = 0;
  for await (const { entries } of store.snapshot({ prefix: '/evercert/v1/certificates/', signal: new AbortController().signal })) {
    for (const { key, value } of entries) appendFileSync(path, `${JSON.stringify({ key, value: Buffer.from(value).toString() })}\n`);
    records += entries.length;
  }
  const admin = await coordinators.admin();
  const sealed = async (): Promise<boolean> => {
    const text = await exportAudit(admin);
    writeFileSync(join(history, 'audit.jsonl'), text);
    return (text.match(/"reason":"CertificateIssued"/g)?.length ?? 0) >= records;
  };
  // A log that stays behind is the judge's business.
  await waitUntil(systemClock, sealed, { timeoutMs: 30_000, what: 'the audit log to be sealed', pollMs: 1000 }).catch((error: unknown) => {
    if (!(error instanceof EvercertError)) throw error;
  });
}

async function exportAudit(admin: AdminApi): Promise<string> {
  const parts: Buffer[] = [];
  for await (const { lines } of admin.client.exportAudit({ fromSequence: 0, follow: false })) parts.push(Buffer.from(lines));
  return Buffer.concat(parts).toString();
}

/** The judge is a program of its own. */
async function judge(history: string): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await run(process.execPath, [join(repositoryRoot, 'test', 'ha', 'check-history.ts'), history], {
    timeoutMs: 120_000,
  });
  if (stdout === '') throw new Error(`the judge said nothing: ${stderr}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Numbers in [0, 1), the same for the same seed. */
function seeded(seed: number): () => number {
  let draws = 0;
  return () => {
    draws += 1;
    return createHash('sha256').update(`${seed} ${draws}`).digest().readUInt32BE() / 2 ** 32;
  };
}
