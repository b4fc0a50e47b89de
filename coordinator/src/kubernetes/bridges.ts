import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
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
  features: readonly BridgeFeature[];
  clock: Clock;
  logger: Logger;
  random: () => number;
}

interface Bridge {
  context: BridgeContext;
  abort: AbortController;
  running: RunningFeature[];
}

/** The bridges from this coordinator to the API servers of its clusters: one each, in one process. */
export class KubernetesBridges {
  readonly #features: readonly BridgeFeature[];
  readonly #bridges: ReadonlyMap<string, Bridge>;

  constructor({ config, features, clock, logger, random }: BridgesOptions) {
    this.#features = features;
    this.#bridges = new Map(
      Object.entries(config).map(([cluster, bridge]) => {
        const abort = new AbortController();
        const status = new BridgeStatus(clock);
        const api = openKubernetesApi({
          kubeconfig: bridge.kubeconfig,
          requestTimeoutMs: bridge.requestTimeout,
          signal: abort.signal,
          clock,
          roles: 'deploy/kubernetes/bridge-rbac.yaml',
          answered: (server) => status.answered(server),
        });
        const context = { cluster, config: bridge, api, status, clock, logger: logger.child({ bridge: cluster }), random };
        return [cluster, { context, abort, running: [] }];
      }),
    );
  }

  start(): void {
    for (const bridge of this.#bridges.values()) bridge.running = this.#features.flatMap((feature) => feature(bridge.context));
  }

  /** Breaks off what is under way at the API servers; resolves when nothing is at work any more. */
  async stop(): Promise<void> {
    for (const { abort } of this.#bridges.values()) abort.abort();
    await Promise.all([...this.#bridges.values()].flatMap(({ running }) => running.map((feature) => feature.stop())));
  }

  /** Undefined: this coordinator has no bridge to the cluster. */
  statusOf(cluster: string): BridgeView | undefined {
    return this.#bridges.get(cluster)?.context.status.view();
  }

  /** FailedPrecondition: this coordinator has no bridge to the cluster, or the feature is not switched on. */
  require(cluster: string, feature: 'signers' | 'bootstrapTokens' | 'revocations'): BridgeContext {
    const bridge = this.#bridges.get(cluster);
    if (bridge?.context.config[feature]) return bridge.context;
    throw new EvercertError(
      'FailedPrecondition',
      `this coordinator ${bridge ? `does not do that (kubernetes.${cluster}.${feature}) for` : 'has no bridge to the API server of'} cluster ${cluster}: see docs/kubernetes.md, 'Connecting a cluster'`,
      { metadata: { cluster, feature } },
    );
  }
}
