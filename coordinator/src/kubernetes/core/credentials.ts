import { stat } from 'node:fs/promises';
import { Agent, type RequestOptions } from 'node:https';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { KubeConfig } from '@kubernetes/client-node';

/** Connections to one API server: watches, and the few calls of its controllers. */
const maxConnections = 32;

export interface Endpoint {
  /** Begins with `https://`, without a slash at its end. */
  server: string;
  /** Puts certificate, token and trust into the options of a request. */
  apply: (options: RequestOptions) => Promise<void>;
}

/** A kubeconfig, read again whenever it or a file that it names has changed: certificates of its user are renewed, too. */
export class Credentials {
  readonly #path: string | undefined;
  readonly #keepAlive: boolean;
  #known: { version: string; files: string[]; endpoint: Endpoint; agent: Agent } | undefined;

  /**
   * @param path undefined: the service account of the pod in which this runs.
   * @param keepAlive whether connections are kept for further requests; whoever wants that calls `close`.
   */
  constructor(path: string | undefined, keepAlive: boolean) {
    this.#path = path;
    this.#keepAlive = keepAlive;
  }

  /** FailedPrecondition: there are no credentials, or they name no API server. */
  async endpoint(): Promise<Endpoint> {
    const known = this.#known;
    if (known && (await versionOf(known.files)) === known.version) return known.endpoint;
    const config = await this.#load();
    const user = config.getCurrentUser();
    const cluster = config.getCurrentCluster();
    const files = [this.#path, user?.certFile, user?.keyFile, cluster?.caFile].filter(
      (file) => file !== undefined && file !== '',
    ) as string[];
    const version = await versionOf(files);
    const server = cluster?.server ?? '';
    if (!URL.canParse(server) || new URL(server).protocol !== 'https:')
      throw new EvercertError(
        'FailedPrecondition',
        `${this.#path ?? 'the service account'} names "${server}" as its API server; expected a URL that begins with https://`,
      );
    const agent = new Agent({ keepAlive: this.#keepAlive, maxSockets: maxConnections, maxFreeSockets: 4 });
    const apply = async (options: RequestOptions): Promise<void> => {
      await config.applyToHTTPSOptions(options);
      // Its own agent keeps no connection; where there is a proxy, only that one knows the way.
      if (cluster?.proxyUrl === undefined) options.agent = agent;
    };
    // Idle connections with the former certificate are of no more use; those at work end by themselves.
    if (known) closeIdle(known.agent);
    this.#known = { version, files, endpoint: { server: server.replace(/\/+$/, ''), apply }, agent };
    return this.#known.endpoint;
  }

  close(): void {
    this.#known?.agent.destroy();
    this.#known = undefined;
  }

  /** Kubernetes' own client brings some 80 MB into memory: only those who have to do with a cluster's API pay for it, and only when the first call comes. */
  async #load(): Promise<KubeConfig> {
    const { KubeConfig } = await import('@kubernetes/client-node');
    const config = new KubeConfig();
    if (this.#path === undefined) {
      if (process.env['KUBERNETES_SERVICE_HOST'] === undefined)
        throw new EvercertError('FailedPrecondition', 'the coordinator does not run in a Kubernetes cluster: set `kubeconfig`');
      config.loadFromCluster();
      return config;
    }
    try {
      config.loadFromFile(this.#path);
    } catch (error) {
      throw new EvercertError('FailedPrecondition', `the kubeconfig ${this.#path} cannot be used: ${describeError(error)}`, {
        cause: error,
      });
    }
    return config;
  }
}

function closeIdle({ freeSockets }: Agent): void {
  for (const socket of Object.values(freeSockets).flat()) socket?.destroy();
}

async function versionOf(files: readonly string[]): Promise<string> {
  const parts = await Promise.all(
    files.map(async (file) => {
      const found = await stat(file).catch(() => undefined);
      return found === undefined ? 'missing' : `${found.ino}-${found.size}-${found.mtimeMs}`;
    }),
  );
  return parts.join(' ');
}
