import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { stringify } from 'yaml';
import { etcdClientFiles, type Layout } from '../etcd/credentials.ts';
import { type EtcdEndpoint, etcdArguments } from '../etcd/member.ts';
import type { WriterMember } from '../etcd/writer.ts';
import { kubeApiServerArguments } from '../kubernetes/api-server.ts';
import type { KubernetesEndpoint } from '../kubernetes/load.ts';
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
  /** Of the node, in the run folder; default: its name. */
  folderName?: string;
  autoRestart: boolean;
  clock: Clock;
  notify: Notify;
}

export interface AgentSettings {
  /** `HOST:PORT`s of the coordinator. */
  endpoints: readonly string[];
  caPins: readonly string[];
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

export interface KubeApiServerSettings {
  binary: string;
  port: number;
  layout: Layout;
}

const agentGraceMs = 5000;
const etcdGraceMs = 10_000;
const apiServerGraceMs = 10_000;

/** One node: a folder that stands for its root file system, an agent in it and, on control-plane nodes, an etcd member and a kube-apiserver. */
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
  /** The kube-apiserver's process, once `useKubeApiServer` was called. */
  apiServer: SupervisedProcess | undefined;
  /** How kubectl reaches it. */
  apiServerClient: KubernetesEndpoint | undefined;
  readonly #options: NodeOptions;
  #settings: Omit<AgentSettings, 'token'> | undefined;

  constructor(options: NodeOptions) {
    const { name, role, address, folder, folderName = name, autoRestart, clock, notify } = options;
    this.#options = options;
    this.name = name;
    this.role = role;
    this.address = address;
    this.rootDir = join(folder.nodes, folderName);
    this.pkiDir = join(this.rootDir, 'etc', 'kubernetes', 'pki');
    this.stateDir = join(this.rootDir, 'var', 'lib', 'evercert');
    this.configPath = join(this.rootDir, 'etc', 'evercert', 'agent.yaml');
    this.statusSocket = join(folder.sockets, `${folderName}.sock`);
    this.agent = new SupervisedProcess(
      {
        name: folderName,
        command: programs.agent,
        args: ['--config', this.configPath],
        cwd: folder.path,
        logPath: join(folder.logs, `${folderName}.log`),
        graceMs: agentGraceMs,
        autoRestart,
      },
      clock,
      notify,
    );
  }

  /** Writes the agent's configuration and its token, as an administrator would before the node's first boot. */
  writeAgentConfig({ token, ...settings }: AgentSettings): void {
    const folder = dirname(this.configPath);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    mkdirSync(this.stateDir, { recursive: true, mode: 0o700 });
    chmodSync(this.rootDir, 0o755);
    writeFileSync(this.#tokenFile, `${token}\n`, { mode: 0o600 });
    this.#writeConfig(settings);
  }

  /**
   * Moves the node's folder aside; the agent must not run. The node that is returned is this machine as it can come back: same files, same identity, in the other folder, with an agent
   * that nobody starts again when it ends.
   */
  moveAside(folderName: string): LocalNode {
    const old = new LocalNode({ ...this.#options, folderName, autoRestart: false });
    renameSync(this.rootDir, old.rootDir);
    if (this.#settings) old.#writeConfig(this.#settings);
    return old;
  }

  /** Deletes all of the node's files but its log; the agent must not run. */
  deleteFiles(): void {
    rmSync(this.rootDir, { recursive: true, force: true });
    rmSync(this.statusSocket, { force: true });
  }

  get #tokenFile(): string {
    return join(dirname(this.configPath), 'token');
  }

  #writeConfig(settings: Omit<AgentSettings, 'token'>): void {
    this.#settings = settings;
    const { endpoints, caPins, scanIntervalSeconds } = settings;
    const config = {
      coordinator: { endpoints: [...endpoints], caPins: [...caPins] },
      node: { name: this.name, addresses: [this.address] },
      tokenFile: this.#tokenFile,
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
  /** Prepares the kube-apiserver, after `useEtcd`; its process is started by `apiServer.start()` once the node holds its certificates and etcd runs. */
  useKubeApiServer({ binary, port, layout }: KubeApiServerSettings): void {
    const { folder, autoRestart, clock, notify } = this.#options;
    const certDir = join(this.rootDir, 'var', 'run', 'kubernetes');
    mkdirSync(certDir, { recursive: true, mode: 0o700 });
    const etcd = this.etcdClient?.target ?? '';
    this.apiServer = new SupervisedProcess(
      {
        name: `kube-apiserver-${this.name}`,
        command: binary,
        args: kubeApiServerArguments({ address: this.address, port, etcd, pkiDir: this.pkiDir, certDir, layout }),
        cwd: folder.path,
        logPath: join(folder.logs, `kube-apiserver-${this.name}.log`),
        graceMs: apiServerGraceMs,
        autoRestart,
      },
      clock,
      notify,
    );
    this.apiServerClient = { name: this.name, server: `https://${this.address}:${port}`, kubeconfig: this.adminKubeconfig };
  }

  /** Of group kubeadm:cluster-admins, where the cluster has the admin kubeconfigs' manifests. */
  get adminKubeconfig(): string {
    return join(dirname(this.pkiDir), 'admin.conf');
  }

  /** Of group system:masters, on the node with the label for it. */
  get superAdminKubeconfig(): string {
    return join(dirname(this.pkiDir), 'super-admin.conf');
  }
}
