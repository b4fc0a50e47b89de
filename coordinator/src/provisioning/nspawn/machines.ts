import { mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { createFileDurable, syncDirectory, temporaryPath, toFileError, writeFileDurable } from '@evercert/shared/files';
import { stringify } from 'yaml';
import { z } from 'zod';
import type { DriverDeps } from '../driver.ts';
import type { CreateCall } from '../types.ts';
import type { NspawnProvisionerConfig } from './config.ts';
import { isRunning, startContainer, stopContainer, waitUntilUp } from './container.ts';
import { deleteMachine, isThere, stageRoot, sweepUnfinished } from './folders.ts';
import { type MachinePlace, machinePlace, placeIn } from './names.ts';
import { findProcesses } from './processes.ts';

const recordSchema = z.object({
  cluster: z.string(),
  node: z.string(),
  replacementId: z.string(),
  idempotencyKey: z.string(),
  createdAtMs: z.number(),
});
/** What a machine was made for. */
export type MachineRecord = z.infer<typeof recordSchema>;

/** The machines of one folder. Only one call at a time may be under way for one machine; one that was cut off is made up by its repeat. */
export class Machines {
  readonly #config: NspawnProvisionerConfig;
  readonly #deps: Omit<DriverDeps, 'stateDir'>;

  constructor(config: NspawnProvisionerConfig, deps: Omit<DriverDeps, 'stateDir'>) {
    this.#config = config;
    this.#deps = deps;
  }

  place(cluster: string, node: string): MachinePlace {
    return machinePlace(this.#config.machinesDir, cluster, node);
  }

  /** What the machine was made for; undefined: there is none. FailedPrecondition: something else has its name. */
  async record({ folder, record }: MachinePlace): Promise<MachineRecord | undefined> {
    if (!(await isThere(folder))) return undefined;
    try {
      return recordSchema.parse(JSON.parse(await readFile(record, 'utf8')));
    } catch (error) {
      const message = `${folder} is no machine that this provisioner has made, for it has no sound machine.json: move it away`;
      throw new EvercertError('FailedPrecondition', message, { cause: error });
    }
  }

  /** All that were made and not removed. */
  async list(): Promise<MachinePlace[]> {
    const { machinesDir } = this.#config;
    const places: MachinePlace[] = [];
    for (const name of (await readdir(machinesDir)).filter((entry) => !entry.startsWith('.'))) {
      const { cluster, node } = (await this.record(placeIn(join(machinesDir, name), name, ''))) ?? {};
      if (cluster !== undefined && node !== undefined) places.push(this.place(cluster, node));
    }
    return places;
  }

  /** Makes the machine where it is not there yet, starts it where it does not run, and waits until it has booted. */
  async create(call: CreateCall, signal: AbortSignal): Promise<string> {
    const { clock, logger } = this.#deps;
    const place = this.place(call.cluster, call.newNode.name);
    const record = await this.record(place);
    if (record !== undefined && record.idempotencyKey !== call.idempotencyKey) {
      const message = `there is a machine ${place.name} already, which action ${record.idempotencyKey} has made: remove it first`;
      throw new EvercertError('FailedPrecondition', message);
    }
    if (record === undefined) await this.#make(place, call, signal);
    // A repeat may bring another token.
    await writeAgentFiles(place, call, this.#config.agent);
    const begunMs = clock.monotonicMs();
    await this.start(place, signal);
    await waitUntilUp(place, { clock, timeoutMs: this.#config.bootTimeout, signal });
    logger.info('machine has booted', { cluster: call.cluster, node: call.newNode.name, machine: place.name });
    return `machine ${place.name} has booted in ${Math.ceil((clock.monotonicMs() - begunMs) / 1000)} s`;
  }

  /** Starts a machine that does not run; whether it did not. */
  async start(place: MachinePlace, signal: AbortSignal): Promise<boolean> {
    if (isRunning(await findProcesses(place.root))) return false;
    await startContainer(place, this.#config.network, signal);
    return true;
  }

  /** Ends and deletes a machine. */
  async remove(place: MachinePlace, signal: AbortSignal): Promise<string> {
    const { clock, logger } = this.#deps;
    const end = await stopContainer(place, { clock, timeoutMs: this.#config.stopTimeout, signal });
    const wasThere = await isThere(place.folder);
    await deleteMachine(place, signal);
    if (!wasThere) return `there was no machine ${place.name} any more`;
    logger.info('machine deleted', { node: place.node, machine: place.name, end });
    return `machine ${place.name} ${end === 'did not run' ? end : `was ${end}`}, and is deleted`;
  }

  async #make(place: MachinePlace, { cluster, replacementId, idempotencyKey, newNode }: CreateCall, signal: AbortSignal): Promise<void> {
    await sweepUnfinished(place, signal);
    const staging = placeIn(temporaryPath(place.folder), place.name, place.node);
    try {
      await mkdir(staging.folder, { mode: 0o700 });
      await mkdir(staging.agent, { mode: 0o700 });
      await stageRoot(this.#config, staging.root, newNode, signal);
      const record: MachineRecord = { cluster, node: newNode.name, replacementId, idempotencyKey, createdAtMs: this.#deps.clock.nowMs() };
      await createFileDurable(staging.record, `${JSON.stringify(record)}\n`, { mode: 0o600 });
      await syncDirectory(staging.folder);
      await rename(staging.folder, place.folder);
    } catch (error) {
      throw toFileError(error, 'make', place.folder);
    }
    await syncDirectory(this.#config.machinesDir);
  }
}

/** They lie outside of the machine's root, for its own root user must not be able to lead the coordinator's writes elsewhere. */
async function writeAgentFiles(
  { agent }: MachinePlace,
  { newNode, join: { token, endpoints, caPins } }: CreateCall,
  further: NspawnProvisionerConfig['agent'],
): Promise<void> {
  const config = {
    ...further,
    coordinator: { endpoints, caPins },
    node: { name: newNode.name, addresses: newNode.addresses, role: 'worker' },
    tokenFile: '/etc/evercert-agent/token',
  };
  await writeFileDurable(join(agent, 'token'), `${token}\n`, { mode: 0o600 });
  await writeFileDurable(join(agent, 'agent.yaml'), stringify(config), { mode: 0o600 });
}
