import { rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  type CreateCall,
  type NodeProvisioner,
  openProvisioners,
  type ProvisionedNode,
  provisionersSchema,
} from '@evercert/coordinator/provisioning';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { temporaryFolder } from '../support/live.ts';
import { leftovers, processesOf, type RunningMachine, runningMachines } from './nspawn-machines.ts';

/** A folder with an image and machines, and drivers over them. */
export class NspawnFixture {
  readonly folder = temporaryFolder('nspawn');
  readonly image = join(this.folder, 'image');
  readonly machinesDir = join(this.folder, 'machines');
  readonly stateDir = join(this.folder, 'state');
  readonly #before = leftovers(this.machinesDir);
  #opened: NodeProvisioner[] = [];

  /** The provisioner's configuration; `settings` are added. */
  config(settings: Record<string, unknown> = {}): Record<string, unknown> {
    return { type: 'nspawn', image: this.image, machinesDir: this.machinesDir, stopTimeout: '10s', ...settings };
  }

  /** Another driver each time, as after a restart of the coordinator. */
  async open(settings: Record<string, unknown> = {}): Promise<NodeProvisioner> {
    const config = provisionersSchema.parse({ here: this.config(settings) });
    const provisioners = await openProvisioners(config, { clock: systemClock, logger: silentLogger, stateDir: this.stateDir });
    const provisioner = provisioners.get('here') as NodeProvisioner;
    this.#opened.push(provisioner);
    return provisioner;
  }

  machines(): RunningMachine[] {
    return runningMachines(this.machinesDir);
  }

  /** Ends every machine hard and deletes all but the image. Returns what is left on the host nevertheless. */
  async reset(): Promise<string[]> {
    for (const provisioner of this.#opened) await provisioner.close();
    this.#opened = [];
    for (const { initPid } of this.machines()) process.kill(Number(initPid), 'SIGKILL');
    while (processesOf(this.machinesDir).length > 0) await systemClock.sleep(50);
    for (const path of [this.machinesDir, this.stateDir]) rmSync(path, { recursive: true, force: true });
    return this.leftovers();
  }

  /** What was not there before. */
  leftovers(): string[] {
    return leftovers(this.machinesDir).filter((each) => !this.#before.includes(each));
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A call for the machine of a node; another key each time, unless it is given. */
export function createCall(node: Partial<ProvisionedNode> & { name: string }, call: Partial<CreateCall> = {}): CreateCall {
  keys += 1;
  const whole = { labels: {}, addresses: [], dnsNames: [], ...node };
  return {
    idempotencyKey: `rp-test-${keys}`,
    replacementId: 'rp-test',
    attempt: 1,
    cluster: 'demo',
    node: whole,
    newNode: { ...whole, machine: '' },
    join: {
      token: 'abcdef.0123456789abcdef',
      tokenExpiresAtMs: systemClock.nowMs() + 600_000,
      endpoints: ['127.0.0.1:1'],
      caPins: [`sha256:${'0'.repeat(64)}`],
    },
    signal: new AbortController().signal,
    ...call,
  };
}

let keys = 0;
