import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { RunningController } from '../leadership/index.ts';
import type { BridgeConfig, BridgesConfig } from './config.ts';
import { BridgeStatus, type BridgeView, type KubernetesApi, openKubernetesApi } from './core/index.ts';

/** What a feature gets of the bridge that it belongs to. */
export interface BridgeContext {
  cluster: string;
  config: BridgeConfig;
  api: KubernetesApi;
  status: BridgeStatus;
  clock: Clock;
  logger: Logger;
  random: () => number;
}

export interface RunningFeature {
  stop(): Promise<void>;
}

/** Starts what is switched on in the context's configuration, and returns at once: an API server that is away holds nobody up. */
export type BridgeFeature = (context: BridgeContext) => RunningFeature[];

export interface BridgesOptions {
  config: BridgesConfig;
  clock: Clock;
  logger: Logger;
  random: () => number;
}

/** The bridges from this coordinator to the API servers of its clusters: one each, in one process. Whoever is asked can write there; what looks after the objects there runs at the leader. */
export class KubernetesBridges {
  readonly #options: BridgesOptions;
  readonly #contexts: ReadonlyMap<string, BridgeContext>;
  readonly #abort = new AbortController();
  #running = false;

  constructor(options: BridgesOptions) {
    this.#options = options;
    this.#contexts = new Map(Object.entries(options.config).map(([cluster, config]) => [cluster, this.#context(cluster, config)]));
  }

  /** Runs features at every API server; what is under way there is broken off when they stop. */
  running(features: readonly BridgeFeature[]): RunningController {
    const abort = new AbortController();
    let running: RunningFeature[] = [];
    return {
      start: () => {
        this.#running = true;
        // Another may have kept it since.
        for (const { status } of this.#contexts.values()) status.publishes(undefined);
        const contexts = [...this.#contexts.values()].map((context) => ({ ...context, api: this.#open(context, abort.signal) }));
        running = contexts.flatMap((context) => features.flatMap((feature) => feature(context)));
      },
      stop: async () => {
        abort.abort();
        await Promise.all(running.map((feature) => feature.stop()));
        this.#running = false;
      },
    };
  }

  /** Breaks off what is under way at the API servers. */
  stop(): void {
    this.#abort.abort();
  }

  /** Undefined: this coordinator has no bridge to the cluster, or another one is at work there. */
  statusOf(cluster: string): BridgeView | undefined {
    return this.#running ? this.#contexts.get(cluster)?.status.view() : undefined;
  }

  /** Whether cluster-info of a cluster holds exactly these CAs (DER, base64). Undefined: it is not kept from here, or the API server cannot be reached. */
  published(cluster: string, bundle: readonly string[]): { current: boolean; message: string } | undefined {
    const context = this.#running ? this.#contexts.get(cluster) : undefined;
    return context?.config.bootstrapTokens ? context.status.published(bundle) : undefined;
  }

  /** FailedPrecondition: this coordinator has no bridge to the cluster, or the feature is not switched on. */
  require(cluster: string, feature: 'signers' | 'bootstrapTokens' | 'revocations'): BridgeContext {
    const bridge = this.#contexts.get(cluster);
    if (bridge?.config[feature]) return bridge;
    throw new EvercertError(
      'FailedPrecondition',
      `this coordinator ${bridge ? `does not do that (kubernetes.${cluster}.${feature}) for` : 'has no bridge to the API server of'} cluster ${cluster}: see docs/kubernetes.md, 'Connecting a cluster'`,
      { metadata: { cluster, feature } },
    );
  }

  #context(cluster: string, config: BridgeConfig): BridgeContext {
    const { clock, logger, random } = this.#options;
    const context = { cluster, config, status: new BridgeStatus(clock), clock, logger: logger.child({ bridge: cluster }), random };
    return { ...context, api: this.#open(context, this.#abort.signal) };
  }

  #open({ config, status, clock }: Pick<BridgeContext, 'config' | 'status' | 'clock'>, signal: AbortSignal): KubernetesApi {
    return openKubernetesApi({
      kubeconfig: config.kubeconfig,
      requestTimeoutMs: config.requestTimeout,
      signal,
      clock,
      roles: 'deploy/kubernetes/bridge-rbac.yaml',
      answered: (server) => status.answered(server),
    });
  }
}
