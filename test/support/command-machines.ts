/** Workers as an operator's own executables make them, over a real coordinator: the `command` provisioner with evercert-hooks.mjs and the machines of fixtures/machine-hook.ts. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type AgentStatus, allReady, fetchStatus } from '@evercert/agent/status';
import { EvercertError } from '@evercert/shared/errors';
import { until } from './live.ts';
import { installOperator, type Operator } from './operator.ts';
import { repositoryRoot } from './tools.ts';

export interface JoinWith {
  token: string;
  endpoint: string;
  caPin: string;
}

export class CommandMachines {
  readonly folder: string;
  readonly #operator: Operator;

  private constructor(folder: string, operator: Operator) {
    this.folder = folder;
    this.#operator = operator;
  }

  static async install(folder: string): Promise<CommandMachines> {
    mkdirSync(join(folder, 'machines'), { recursive: true });
    const fixture = join(repositoryRoot, 'test', 'integration', 'fixtures', 'machine-hook.ts');
    const agent = join(repositoryRoot, 'agent', 'bin', 'evercert-agent');
    const hook = `#!/bin/sh\nexec '${process.execPath}' '${fixture}' '${folder}' '${agent}'\n`;
    const names = ['cordon', 'uncordon', 'drain', 'remove', 'create'];
    return new CommandMachines(folder, await installOperator(folder, Object.fromEntries(names.map((name) => [name, hook]))));
  }

  /** For the coordinator's configuration. */
  get provisioner(): object {
    const step = { command: this.#operator.command, timeout: '30s' };
    return { type: 'command', cordon: step, uncordon: step, drain: step, remove: step, create: step };
  }

  /** Makes the first machine of a worker, as the operator does before there is anything to replace. */
  seed(cluster: string, name: string, address: string, { token, endpoint, caPin }: JoinWith): void {
    const node = { name, labels: {}, addresses: [address], dnsNames: [] };
    const request = {
      apiVersion: 'provisioner.evercert.io/v1',
      action: 'create',
      idempotencyKey: `seed-${cluster}-1-create`,
      timeoutSeconds: 30,
      replacement: { id: `seed-${cluster}`, attempt: 1 },
      cluster,
      node,
      newNode: { ...node, machine: '' },
      join: { token, tokenExpiresAt: '', endpoints: [endpoint], caPins: [caPin] },
    };
    const [file = '', ...args] = this.#operator.command;
    const { status, stderr } = spawnSync(file, args, { input: JSON.stringify(request), encoding: 'utf8' });
    if (status !== 0) throw new Error(`the machine of ${cluster} could not be made: ${stderr}`);
  }

  /** Keys under which something took effect, in order. */
  effects(cluster: string): string[] {
    const path = join(this.folder, 'effects');
    const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
    return lines
      .map((line) => JSON.parse(line) as { cluster: string; key: string })
      .filter((line) => line.cluster === cluster && !line.key.startsWith('seed-'))
      .map(({ key }) => key);
  }

  machines(cluster: string): string[] {
    const path = join(this.folder, 'machines', cluster);
    return existsSync(path) ? readdirSync(path) : [];
  }

  pid(cluster: string, node: string): number {
    return Number(readFileSync(join(this.folder, 'machines', cluster, node, 'pid'), 'utf8'));
  }

  /** Every process that works in the folder of a machine of the cluster, also in one that was deleted. */
  processes(cluster: string): number[] {
    const place = join(this.folder, 'machines', cluster);
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => workingFolder(pid).startsWith(`${place}/`))
      .map(Number);
  }

  async untilReady(cluster: string, node: string, timeoutMs: number): Promise<AgentStatus> {
    let last: AgentStatus | undefined;
    await until(`the agent of ${cluster}/${node} to be Ready`, timeoutMs, async () => {
      last = await this.#status(cluster, node);
      return last !== undefined && last.connection.state === 'Connected' && last.certificates.length > 0 && allReady(last);
    });
    return last as AgentStatus;
  }

  /** Ends every machine, at the end of a test. */
  endAll(): void {
    for (const cluster of readdirSync(join(this.folder, 'machines'))) {
      for (const pid of this.processes(cluster)) process.kill(pid, 'SIGKILL');
    }
  }

  async #status(cluster: string, node: string): Promise<AgentStatus | undefined> {
    try {
      return await fetchStatus(join(this.folder, 'machines', cluster, node, 'sock'));
    } catch (error) {
      if (error instanceof EvercertError) return undefined;
      throw error;
    }
  }
}

/** Empty for a process that is gone, or a zombie. */
function workingFolder(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}
