import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError, writeFileDurable } from '@evercert/shared/files';
import type { DriverDeps } from '../driver.ts';
import type { ActionCall, ActionReport, NodeProvisioner } from '../types.ts';
import type { NspawnProvisionerConfig } from './config.ts';
import { imageFault } from './folders.ts';
import { Journal } from './journal.ts';
import { Machines } from './machines.ts';
import type { MachinePlace } from './names.ts';

const noWork: ActionReport = {
  message: 'nothing was asked of Kubernetes: this provisioner knows machines, not the work that a kubelet has on them',
};

/**
 * Machines of the coordinator's own host, as systemd-nspawn containers that boot systemd; they live on when the coordinator ends. Those that do not run although the host was started anew are
 * started. InvalidConfig: this process is not root. Errors of actions: FailedPrecondition (image, bridge, programs, another machine in the way), DiskFull, Unavailable, DeadlineExceeded, Cancelled.
 */
export async function createNspawnProvisioner(config: NspawnProvisionerConfig, deps: DriverDeps): Promise<NodeProvisioner> {
  const { logger } = deps;
  if (process.geteuid?.() !== 0) {
    throw new EvercertError(
      'InvalidConfig',
      'the provisioner "nspawn" needs a coordinator that runs as root on the machines\' host; see docs/provisioners.md',
    );
  }
  await makeFolders(config.machinesDir, deps.stateDir);
  const fault = await imageFault(config.image, config.network);
  if (fault !== undefined) logger.warn('no machine can be made', { error: fault });
  const provisioner = new NspawnProvisioner(new Machines(config, deps), deps);
  await provisioner.startAfterReboot();
  return provisioner;
}

class NspawnProvisioner implements NodeProvisioner {
  readonly type = 'nspawn';
  readonly sameName = true;
  readonly #machines: Machines;
  readonly #deps: DriverDeps;
  readonly #journal: Journal;
  readonly #closing = new AbortController();
  /** The action of each machine that is under way, or the last in its queue. */
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(machines: Machines, deps: DriverDeps) {
    this.#machines = machines;
    this.#deps = deps;
    this.#journal = new Journal(join(deps.stateDir, 'done.jsonl'));
  }

  cordon = async (): Promise<ActionReport> => noWork;
  uncordon = async (): Promise<ActionReport> => noWork;
  drain = async (): Promise<ActionReport> => noWork;
  allocate: NodeProvisioner['allocate'] = async ({ node }) => ({ ...node, machine: '' });

  create: NodeProvisioner['create'] = (call) => {
    const place = this.#machines.place(call.cluster, call.newNode.name);
    return this.#once(place, call, (signal) => this.#machines.create(call, signal));
  };

  remove: NodeProvisioner['remove'] = (call) => {
    const place = this.#machines.place(call.cluster, call.node.name);
    return this.#once(place, call, (signal) => this.#machines.remove(place, signal));
  };

  discard: NodeProvisioner['discard'] = (call) => {
    const place = this.#machines.place(call.cluster, call.newNode.name);
    return this.#once(place, call, async (signal) => {
      const record = await this.#machines.record(place);
      if (record !== undefined && record.replacementId !== call.replacementId) {
        return `machine ${place.name} is not of replacement ${call.replacementId} but of ${record.replacementId}: it stays`;
      }
      return this.#machines.remove(place, signal);
    });
  };

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#queues.values());
  }

  /** Containers do not come back with their host by themselves. A machine that somebody has powered off stays off. */
  async startAfterReboot(): Promise<void> {
    const { logger, stateDir } = this.#deps;
    const file = join(stateDir, 'boot-id');
    const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    if ((await readFile(file, 'utf8').catch(absent)) === bootId) return;
    for (const place of await this.#machines.list()) {
      try {
        if (await this.#machines.start(place, this.#closing.signal))
          logger.info('machine started with its host', { node: place.node, machine: place.name });
      } catch (error) {
        logger.error('a machine could not be started with its host', {
          node: place.node,
          machine: place.name,
          error: describeError(error),
        });
      }
    }
    await writeFileDurable(file, bootId, { mode: 0o600 });
  }

  /** Acts when nothing else is done to the machine, unless it was done already. */
  #once(place: MachinePlace, call: ActionCall, act: (signal: AbortSignal) => Promise<string>): Promise<ActionReport> {
    const signal = AbortSignal.any([call.signal, this.#closing.signal]);
    const before = this.#queues.get(place.name) ?? Promise.resolve();
    const acting = before.then(async () => {
      const earlier = await this.#journal.outcome(call.idempotencyKey);
      if (earlier !== undefined) return { message: earlier };
      if (signal.aborted)
        throw new EvercertError(
          'Cancelled',
          `nothing was done to machine ${place.name}: the coordinator stops, or the action was given up`,
        );
      const message = await act(signal);
      await this.#journal.add(call.idempotencyKey, message);
      return { message };
    });
    const settled = acting.then(
      () => undefined,
      () => undefined,
    );
    this.#queues.set(place.name, settled);
    void settled.then(() => {
      if (this.#queues.get(place.name) === settled) this.#queues.delete(place.name);
    });
    return acting;
  }
}

async function makeFolders(...paths: string[]): Promise<void> {
  for (const path of paths) {
    await mkdir(path, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
      throw toFileError(error, 'make', path);
    });
  }
}

function absent(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error;
}
