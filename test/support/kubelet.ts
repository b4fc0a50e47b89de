/** A real kubelet without a container runtime: it registers its node, looks after its certificates and serves, and runs no pod. */
import { mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, SupervisedProcess } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { stringify } from 'yaml';
import { type FakeContainerRuntime, startFakeContainerRuntime } from './fake-container-runtime.ts';
import { kubeBinary, needTool } from './tools.ts';

/**
 * In a mount namespace of its own: kubelet mounts its folder onto itself, which nobody could remove then, and makes folders in /var/log, whose paths it lets nobody choose.
 * What is run is kubelet itself, under the same process id.
 */
const ownMounts = ['--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /var/log && exec "$@"', 'sh'];

export interface KubeletBinary {
  kubelet: string;
  /** Of this machine: kubelet refuses the loopback's as a node's address. */
  address: string;
}

/** For `before`: the binary and the address under which it runs, or the suite is skipped with one line. kubelet runs as root alone. */
export function needKubelet(context: Mocha.Context): KubeletBinary {
  const kubelet = needTool(context, 'kubelet', kubeBinary);
  needTool(context, 'unshare');
  needTool(context, 'root', () => (process.getuid?.() === 0 ? '/' : undefined));
  return { kubelet, address: needTool(context, "a network interface besides the loopback's", nodeAddress) };
}

function nodeAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
}

export interface KubeletOptions extends KubeletBinary {
  /** The node's. */
  name: string;
  /** Made if it is not there; holds all that kubelet writes. */
  folder: string;
  /** Of the API server's clients: for kubelet's own server. */
  clientCaFile: string;
  /** Where kubelet finds its kubeconfig, or writes it; default: `kubelet.conf` in the folder. */
  kubeconfig?: string;
  bootstrapKubeconfig?: string;
  /** Default: `pki` in the folder. */
  certDir?: string;
  /** Instead of what the KubeletConfiguration here says, or besides. */
  config?: Record<string, unknown>;
  flags?: string[];
}

/** Running when it resolves, whatever becomes of it then. */
export async function startKubelet(options: KubeletOptions): Promise<TestKubelet> {
  const port = await freePort('127.0.0.1', Math.random, new Set());
  const kubelet = new TestKubelet(options, port);
  await kubelet.start();
  return kubelet;
}

export class TestKubelet {
  readonly name: string;
  /** Of its HTTPS server on 127.0.0.1. */
  readonly port: number;
  readonly kubeconfig: string;
  /** Holds `kubelet-client-current.pem`, `kubelet-server-current.pem`. */
  readonly certDir: string;
  readonly process: SupervisedProcess;
  readonly #logPath: string;
  readonly #socketFolder: string;
  #runtime: FakeContainerRuntime | undefined;

  constructor(options: KubeletOptions, port: number) {
    const { name, folder, kubelet, address, clientCaFile, bootstrapKubeconfig, flags = [] } = options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.name = name;
    this.port = port;
    this.kubeconfig = options.kubeconfig ?? join(folder, 'kubelet.conf');
    this.certDir = options.certDir ?? join(folder, 'pki');
    this.#logPath = join(folder, 'kubelet.log');
    // Paths of sockets are short, those of tests' folders may not be.
    this.#socketFolder = join(realpathSync(tmpdir()), `evercert-cri-${process.pid}-${port}`);
    const configFile = join(folder, 'kubelet-config.yaml');
    writeFileSync(configFile, stringify({ ...configuration(folder, port, clientCaFile), ...options.config }), { mode: 0o600 });
    const args = [
      ...ownMounts,
      kubelet,
      `--config=${configFile}`,
      `--kubeconfig=${this.kubeconfig}`,
      ...(bootstrapKubeconfig === undefined ? [] : [`--bootstrap-kubeconfig=${bootstrapKubeconfig}`]),
      `--hostname-override=${name}`,
      `--node-ip=${address}`,
      `--root-dir=${join(folder, 'kubelet')}`,
      `--cert-dir=${this.certDir}`,
      '--container-runtime=remote',
      `--container-runtime-endpoint=unix://${this.#socket}`,
      '--v=2',
      ...flags,
    ];
    const spec = { name: 'kubelet', command: 'unshare', args, cwd: folder, logPath: this.#logPath, graceMs: 5000, autoRestart: false };
    this.process = new SupervisedProcess(spec, systemClock, () => undefined);
  }

  get #socket(): string {
    return join(this.#socketFolder, 'cri.sock');
  }

  async start(): Promise<void> {
    mkdirSync(this.#socketFolder, { recursive: true, mode: 0o700 });
    this.#runtime ??= await startFakeContainerRuntime(this.#socket);
    await this.process.start();
  }

  async stop(): Promise<void> {
    await this.process.stop();
    this.#runtime?.stop();
    this.#runtime = undefined;
    rmSync(this.#socketFolder, { recursive: true, force: true });
  }

  /** What it has said since its first start. */
  log(): string {
    return readFileSync(this.#logPath, 'utf8');
  }

  /** For errors of tests. */
  lastLines(count = 30): string {
    return this.log().split('\n').slice(-count).join('\n');
  }
}

/** As kubeadm writes it, without what touches the machine: no cgroups, no iptables. */
function configuration(folder: string, port: number, clientCAFile: string): Record<string, unknown> {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: '127.0.0.1',
    port,
    healthzPort: 0,
    readOnlyPort: 0,
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile } },
    authorization: { mode: 'Webhook' },
    rotateCertificates: true,
    serverTLSBootstrap: true,
    cgroupsPerQOS: false,
    enforceNodeAllocatable: [],
    makeIPTablesUtilChains: false,
    failSwapOn: false,
    resolvConf: '',
    nodeStatusUpdateFrequency: '2s',
    nodeLeaseDurationSeconds: 8,
    volumePluginDir: join(folder, 'volume-plugins'),
  };
}
