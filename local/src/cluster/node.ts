import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { stringify } from 'yaml';
import { etcdClientFiles, type Layout } from '../etcd/credentials.ts';
import { type EtcdEndpoint, etcdArguments } from '../etcd/member.ts';
import type { WriterMember } from '../etcd/writer.ts';
import type { Notify } from '../supervisor/events.ts';
import { SupervisedProcess } from '../supervisor/process.ts';
import type { RunFolder } from '../supervisor/run-folder.ts';
import { programs } from './programs.ts';

export type NodeRole = 'control-plane' | 'worker';

export interface NodeOptions {
  name: string;
  role: NodeRole;
  address: string;
  folder: RunFolder;
  autoRestart: boolean;
  clock: Clock;
  notify: Notify;
}

export interface AgentSettings {
  /** `HOST:PORT` of the coordinator. */
  coordinator: string;
  caPin: string;
  token: string;
  scanIntervalSeconds: number;
}

export interface EtcdSettings {
  binary: string;
  endpoint: EtcdEndpoint;
  members: EtcdEndpoint[];
  clusterToken: string;
  layout: Layout;
}

const agentGraceMs = 5000;
const etcdGraceMs = 10_000;

/** One node: a folder that stands for its root file system, an agent in it and, on control-plane nodes, an etcd member. */
export class LocalNode {
  readonly name: string;
  readonly role: NodeRole;
  readonly address: string;
  /** Stands for `/` of the node. */
  readonly rootDir: string;
  /** `/etc/kubernetes/pki` of the node. */
  readonly pkiDir: string;
  /** The agent's own folder. */
  readonly stateDir: string;
  readonly configPath: string;
  readonly statusSocket: string;
  readonly agent: SupervisedProcess;
  /** The etcd member's process, once `useEtcd` was called. */
  etcd: SupervisedProcess | undefined;
  /** How clients reach the etcd member. */
  etcdClient: WriterMember | undefined;
  readonly #options: NodeOptions;

  constructor(options: NodeOptions) {
    const { name, role, address, folder, autoRestart, clock, notify } = options;
    this.#options = options;
    this.name = name;
    this.role = role;
    this.address = address;
    this.rootDir = join(folder.nodes, name);
    this.pkiDir = join(this.rootDir, 'etc', 'kubernetes', 'pki');
    this.stateDir = join(this.rootDir, 'var', 'lib', 'evercert');
    this.configPath = join(this.rootDir, 'etc', 'evercert', 'agent.yaml');
    this.statusSocket = join(folder.sockets, `${name}.sock`);
    this.agent = new SupervisedProcess(
      {
        name,
        command: programs.agent,
        args: ['--config', this.configPath],
        cwd: folder.path,
        logPath: join(folder.logs, `${name}.log`),
        graceMs: agentGraceMs,
        autoRestart,
      },
      clock,
      notify,
    );
  }

  /** Writes the agent's configuration and its token, as an administrator would before the node's first boot. */
  writeAgentConfig({ coordinator, caPin, token, scanIntervalSeconds }: AgentSettings): void {
    const folder = join(this.rootDir, 'etc', 'evercert');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    mkdirSync(this.stateDir, { recursive: true, mode: 0o700 });
    chmodSync(this.rootDir, 0o755);
    const tokenFile = join(folder, 'token');
    writeFileSync(tokenFile, `${token}\n`, { mode: 0o600 });
    const config = {
      coordinator: { endpoints: [coordinator], caPins: [caPin] },
      node: { name: this.name, addresses: [this.address] },
      tokenFile,
      stateDir: this.stateDir,
      rootDir: this.rootDir,
      statusSocket: this.statusSocket,
      scanInterval: `${scanIntervalSeconds}s`,
      log: { level: 'info', format: 'json' },
    };
    writeFileSync(this.configPath, stringify(config), { mode: 0o600 });
  }

  /** Prepares the etcd member; its process is started by `etcd.start()` once the node holds its certificates. */
  useEtcd({ binary, endpoint, members, clusterToken, layout }: EtcdSettings): void {
    const { folder, autoRestart, clock, notify } = this.#options;
    const dataDir = join(this.rootDir, 'var', 'lib', 'etcd');
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    this.etcd = new SupervisedProcess(
      {
        name: `etcd-${this.name}`,
        command: binary,
        args: etcdArguments({ endpoint, members, pkiDir: this.pkiDir, dataDir, clusterToken }),
        cwd: folder.path,
        logPath: join(folder.logs, `etcd-${this.name}.log`),
        graceMs: etcdGraceMs,
        autoRestart,
      },
      clock,
      notify,
    );
    const target = `${endpoint.address}:${endpoint.clientPort}`;
    this.etcdClient = { name: this.name, target, files: etcdClientFiles(this.pkiDir, layout) };
  }
}
