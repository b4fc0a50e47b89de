/** Machines of Cluster API with a real agent: what cloud-init would do with a cloud-config, in a folder instead of a file system of its own. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type AgentStatus, fetchStatus } from '@evercert/agent/status';
import { SupervisedProcess } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { parse, stringify } from 'yaml';
import type { CloudConfig, Infrastructure, MachineObject } from './cluster-api.ts';
import { repositoryRoot } from './tools.ts';

const configPath = '/etc/evercert-agent/agent.yaml';

export class AgentMachines implements Infrastructure {
  readonly #folder: string;
  readonly #agents = new Map<string, SupervisedProcess>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  boot({ metadata }: MachineObject, cloudConfig: CloudConfig): Promise<void> {
    return this.start(metadata.name, cloudConfig);
  }

  async destroy({ metadata }: MachineObject): Promise<void> {
    await this.end(metadata.name);
  }

  /** A machine by its name: its files are written, and its agent is started. */
  async start(machine: string, { write_files }: CloudConfig): Promise<void> {
    const root = this.#root(machine);
    for (const { path, permissions = '0644', content } of write_files) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      const text = path === configPath ? this.#inFolder(machine, content) : content;
      writeFileSync(join(root, path), text, { mode: Number.parseInt(permissions, 8) });
    }
    const spec = {
      name: machine,
      command: join(repositoryRoot, 'agent', 'bin', 'evercert-agent'),
      args: ['--config', join(root, configPath)],
      cwd: root,
      logPath: join(this.#folder, `${machine}.log`),
      graceMs: 5000,
      autoRestart: true,
    };
    const agent = new SupervisedProcess(spec, systemClock, () => undefined);
    this.#agents.set(machine, agent);
    await agent.start();
  }

  async end(machine: string): Promise<void> {
    await this.#agents.get(machine)?.kill();
    this.#agents.delete(machine);
    rmSync(this.#root(machine), { recursive: true, force: true });
  }

  async endAll(): Promise<void> {
    for (const machine of this.running()) await this.end(machine);
  }

  /** Machines whose agents run, or are stopped by a signal. */
  running(): string[] {
    return [...this.#agents].filter(([, { running }]) => running).map(([name]) => name);
  }

  signal(machine: string, signal: NodeJS.Signals): void {
    this.#agents.get(machine)?.signal(signal);
  }

  async status(machine: string): Promise<AgentStatus | undefined> {
    try {
      return await fetchStatus(join(this.#root(machine), 'sock'));
    } catch (error) {
      if (error instanceof EvercertError) return undefined;
      throw error;
    }
  }

  /** The agent's paths are those of a machine of its own; here they lie in its folder. */
  #inFolder(machine: string, agentYaml: string): string {
    const root = this.#root(machine);
    const config = parse(agentYaml) as { tokenFile: string };
    return stringify({
      ...config,
      tokenFile: join(root, config.tokenFile),
      stateDir: join(root, 'var/lib/evercert-agent'),
      rootDir: root,
      statusSocket: join(root, 'sock'),
    });
  }

  #root(machine: string): string {
    return join(this.#folder, machine);
  }
}
