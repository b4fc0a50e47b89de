/** A real Kubernetes control plane on the loopback: etcd, kube-apiserver with RBAC, and kube-controller-manager where a test needs some of its controllers. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { freePort, SupervisedProcess } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { KubeConfig, type KubernetesObject, KubernetesObjectApi } from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import { createKubernetesPki, type KubernetesPki, kubeconfigText } from './kubernetes-pki.ts';
import { temporaryFolder, until } from './live.ts';
import { kubeBinary, needTool } from './tools.ts';

export interface KubernetesBinaries {
  etcd: string;
  apiServer: string;
  controllerManager: string;
}

/** For `before`: where the binaries are, or the suite is skipped with one line. */
export function needKubernetes(context: Mocha.Context): KubernetesBinaries {
  return {
    etcd: needTool(context, 'etcd'),
    apiServer: needTool(context, 'kube-apiserver', kubeBinary),
    controllerManager: needTool(context, 'kube-controller-manager', kubeBinary),
  };
}

export interface KubernetesOptions {
  /** More flags for kube-apiserver. */
  apiServerFlags?: string[];
  /** PEM of more CAs whose clients kube-apiserver knows (`--client-ca-file`), besides its own. */
  clientCas?: string;
  /** Controllers of kube-controller-manager that run, such as `disruption` (`--controllers`); none by default: it is not started then. */
  controllers?: string[];
  controllerManagerFlags?: string[];
}

export interface KubernetesAnswer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: objects of many kinds, and a test says what it expects of them.
  body: any;
}

/** Ready when it resolves; about 4 s. */
export async function startKubernetes(binaries: KubernetesBinaries, options: KubernetesOptions = {}): Promise<TestKubernetes> {
  const folder = temporaryFolder('kubernetes');
  const pki = await createKubernetesPki(join(folder, 'pki'));
  const port = await freePort('127.0.0.1', Math.random, new Set());
  const kubernetes = new TestKubernetes(folder, pki, `https://127.0.0.1:${port}`);
  try {
    await kubernetes.start(binaries, options);
    return kubernetes;
  } catch (error) {
    await kubernetes.stop();
    throw error;
  }
}

export class TestKubernetes {
  readonly folder: string;
  readonly pki: KubernetesPki;
  /** `https://127.0.0.1:PORT` */
  readonly server: string;
  /** Path of a kubeconfig of group system:masters. */
  adminKubeconfig = '';
  readonly #processes: SupervisedProcess[] = [];
  #admin = new KubeConfig();

  constructor(folder: string, pki: KubernetesPki, server: string) {
    this.folder = folder;
    this.pki = pki;
    this.server = server;
  }

  async start(binaries: KubernetesBinaries, options: KubernetesOptions): Promise<void> {
    this.adminKubeconfig = await this.kubeconfigFor('admin', { commonName: 'kubernetes-admin', organizations: ['system:masters'] });
    this.#admin.loadFromFile(this.adminKubeconfig);
    const etcd = await this.#startEtcd(binaries.etcd);
    const clientCaFile = join(this.folder, 'client-ca.crt');
    writeFileSync(clientCaFile, readFileSync(this.pki.caFile, 'utf8') + (options.clientCas ?? ''));
    await this.#startApiServer(binaries.apiServer, etcd, [`--client-ca-file=${clientCaFile}`, ...(options.apiServerFlags ?? [])]);
    await until('kube-apiserver to be ready', 60_000, () => this.#ready('kube-apiserver'));
    if (options.controllers !== undefined)
      await this.startControllers(binaries.controllerManager, options.controllers, [
        '--use-service-account-credentials=false',
        ...(options.controllerManagerFlags ?? []),
      ]);
  }

  /** Starts kube-controller-manager with these controllers alone, such as `disruption` (`--controllers`); they work within seconds. */
  async startControllers(binary: string, controllers: string[], flags: string[] = []): Promise<void> {
    const user = { commonName: 'system:kube-controller-manager' };
    const kubeconfig = await this.kubeconfigFor('controller-manager', user);
    const port = await freePort('127.0.0.1', Math.random, new Set());
    await this.#start('kube-controller-manager', binary, [
      `--kubeconfig=${kubeconfig}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      '--port=0',
      `--cert-dir=${join(this.folder, 'controller-manager')}`,
      `--controllers=${controllers.join(',')}`,
      '--leader-elect=false',
      '--use-service-account-credentials',
      `--cluster-signing-cert-file=${this.pki.caFile}`,
      `--cluster-signing-key-file=${this.pki.caKeyFile}`,
      `--root-ca-file=${this.pki.caFile}`,
      `--service-account-private-key-file=${this.pki.serviceAccountKeyFile}`,
      ...flags,
    ]);
  }

  /** One of its processes: `etcd`, `kube-apiserver`, `kube-controller-manager`. */
  process(name: string): SupervisedProcess {
    const found = this.#processes.find((each) => each.name === name);
    if (!found) throw new Error(`there is no ${name} here`);
    return found;
  }

  /** Stops the API server (it may have crashed), lets the time pass for which it is to be away, and waits until it answers again, over the same etcd. */
  async restartApiServer(away: () => Promise<void> = async () => undefined): Promise<void> {
    const server = this.process('kube-apiserver');
    await server.stop();
    await away();
    await server.start();
    await until('kube-apiserver to be ready again', 60_000, () => this.#ready('kube-apiserver'));
  }

  /** Path of a kubeconfig with a client certificate of its own. */
  async kubeconfigFor(name: string, user: { commonName: string; organizations?: string[] }): Promise<string> {
    return this.#writeKubeconfig(name, await this.pki.client(name, user));
  }

  /** Path of a kubeconfig with a service account's token, as a pod has one. `server` is another way to the API server. */
  async kubeconfigOfServiceAccount(namespace: string, name: string, server = this.server): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: [], expirationSeconds: 3600 } };
    const answer = await this.send('POST', path, body);
    if (answer.status !== 201) throw new Error(`no token for ${namespace}/${name}: ${JSON.stringify(answer.body)}`);
    return this.#writeKubeconfig(`${namespace}-${name}-${new URL(server).port}`, { token: answer.body.status.token }, server);
  }

  /** One call as the admin; a PATCH is a merge patch. What the server refuses is an answer, too. */
  async send(method: string, path: string, body?: object): Promise<KubernetesAnswer> {
    const contentType = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const options = { method, headers: { 'content-type': contentType, accept: 'application/json' } };
    await this.#admin.applyToHTTPSOptions(options);
    return new Promise((resolve, reject) => {
      const outgoing = request(this.server + path, options, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const json = (response.headers['content-type'] ?? '').includes('json');
          resolve({ status: response.statusCode ?? 0, body: json ? JSON.parse(text) : text });
        });
      });
      outgoing.on('error', reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** As `send`, but anything but success is an error of the test. */
  async ok(method: string, path: string, body?: object): Promise<KubernetesAnswer['body']> {
    const answer = await this.send(method, path, body);
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    throw new Error(`${method} ${path}: HTTP ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  /** Creates every object of a file of YAML documents; those that are there stay as they are. */
  async create(yaml: string): Promise<void> {
    const api = KubernetesObjectApi.makeApiClient(this.#admin);
    for (const document of parseAllDocuments(yaml)) {
      const object = document.toJS() as KubernetesObject | null;
      if (object === null) continue;
      await api.create(object).catch((error: unknown) => {
        if ((error as { code?: number }).code !== 409) throw error;
      });
    }
  }

  /** Custom resource definitions, served when it resolves. */
  async createDefinitions(text: string): Promise<void> {
    await this.create(text);
    for (const document of parseAllDocuments(text)) {
      const { metadata } = document.toJS() as { metadata: { name: string } };
      await until(`${metadata.name} to be served`, 20_000, async () => {
        const { status } = await this.ok('GET', `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${metadata.name}`);
        return (status?.conditions ?? []).some(
          (each: { type: string; status: string }) => each.type === 'Established' && each.status === 'True',
        );
      });
    }
  }

  /** Whether it still runs: some builds crash on some requests. */
  get apiServerRuns(): boolean {
    return this.#processes.some(({ name, running }) => name === 'kube-apiserver' && running);
  }

  /** Stops all and removes the folder. */
  async stop(): Promise<void> {
    for (const process of this.#processes.reverse()) await process.stop();
    this.#processes.length = 0;
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #startEtcd(binary: string): Promise<string> {
    const taken = new Set<number>();
    const client = `http://127.0.0.1:${await freePort('127.0.0.1', Math.random, taken)}`;
    const peer = `http://127.0.0.1:${await freePort('127.0.0.1', Math.random, taken)}`;
    const data = join(this.folder, 'etcd');
    mkdirSync(data, { mode: 0o700 });
    await this.#start('etcd', binary, [
      '--name=test',
      `--data-dir=${data}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=test=${peer}`,
    ]);
    return client;
  }

  async #startApiServer(binary: string, etcd: string, flags: string[]): Promise<void> {
    const serving = await this.pki.server('apiserver');
    const { port } = new URL(this.server);
    await this.#start('kube-apiserver', binary, [
      `--etcd-servers=${etcd}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${port}`,
      '--endpoint-reconciler-type=none',
      '--service-cluster-ip-range=10.96.0.0/16',
      `--cert-dir=${join(this.folder, 'apiserver')}`,
      `--tls-cert-file=${serving.certificate}`,
      `--tls-private-key-file=${serving.privateKey}`,
      `--service-account-key-file=${this.pki.serviceAccountPublicKeyFile}`,
      `--service-account-signing-key-file=${this.pki.serviceAccountKeyFile}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      '--authorization-mode=Node,RBAC',
      '--enable-bootstrap-token-auth',
      // Pods are made without the controllers that make default service accounts.
      '--disable-admission-plugins=ServiceAccount',
      ...flags,
    ]);
  }

  async #start(name: string, command: string, args: string[]): Promise<void> {
    const logPath = join(this.folder, `${name}.log`);
    const spec = { name, command, args, cwd: this.folder, logPath, graceMs: 5000, autoRestart: false };
    const process = new SupervisedProcess(spec, systemClock, () => undefined);
    this.#processes.push(process);
    await process.start();
  }

  async #ready(name: string): Promise<boolean> {
    const process = this.#processes.find((each) => each.name === name);
    if (!process?.running) throw new Error(`${name} has ended:\n${this.#lastLines(name)}`);
    try {
      return (await this.send('GET', '/readyz')).status === 200;
    } catch {
      // It does not listen yet.
      return false;
    }
  }

  #lastLines(name: string): string {
    return readFileSync(join(this.folder, `${name}.log`), 'utf8')
      .split('\n')
      .slice(-20)
      .join('\n');
  }

  #writeKubeconfig(name: string, user: Parameters<typeof kubeconfigText>[2], server = this.server): string {
    const path = join(this.folder, `${name}.kubeconfig`);
    writeFileSync(path, kubeconfigText(server, this.pki.caFile, user), { mode: 0o600 });
    return path;
  }
}
