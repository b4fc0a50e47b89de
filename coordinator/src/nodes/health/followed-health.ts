import type { Logger } from '@evercert/shared/logging';
import { Informer } from '../../state/informer.ts';
import { layout, partsAfter } from '../../state/layout.ts';
import type { NodeHealthRecord, NodeRecord } from '../../state/records.ts';
import type { Store } from '../../store/index.ts';
import { type FactsSources, factsOf } from './facts.ts';
import { Inventory } from './inventory.ts';
import type { NodeHealth } from './node-health.ts';
import { nextState } from './transition.ts';
import type { HealthFacts, NodeHealthState } from './types.ts';

export interface FollowedHealthOptions extends Omit<FactsSources, 'inventory'> {
  store: Store;
  logger: Logger;
}

/** Every node's health as the leader last found it, at all coordinators; at the leader itself, as it is at this moment. */
export class FollowedHealth {
  readonly #options: FollowedHealthOptions;
  readonly #sources: FactsSources;
  readonly #informer: Informer<NodeHealthRecord>;
  readonly #listeners = new Set<(cluster: string, name: string) => void>();
  readonly #stops: (() => void)[] = [];
  #leading: { health: NodeHealth; end: () => void } | undefined;

  constructor(options: FollowedHealthOptions) {
    this.#options = options;
    const { store, logger } = options;
    this.#informer = new Informer(store, layout.nodeHealths, logger);
    this.#sources = { ...options, inventory: new Inventory({ store, logger, found: (cluster, name) => this.#tell(cluster, name) }) };
  }

  async start(): Promise<void> {
    this.#stops.push(
      this.#informer.subscribe(({ key }) => {
        const [cluster = '', name = ''] = partsAfter(layout.nodeHealths, key);
        this.#tell(cluster, name);
      }),
      this.#options.statuses.subscribe((cluster, name) => this.#tell(cluster, name)),
    );
    await this.#informer.start();
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0)) stop();
    await this.#informer.stop();
  }

  /** From now on the health is derived here. Returns a function that ends it. */
  lead(health: NodeHealth): () => void {
    const end = health.subscribe((cluster, name) => {
      for (const listener of this.#listeners) listener(cluster, name);
    });
    this.#leading = { health, end };
    return () => {
      end();
      this.#leading = undefined;
    };
  }

  /** A node's health now. */
  of(node: NodeRecord): NodeHealthState {
    if (this.#leading) return this.#leading.health.of(node);
    const found = this.#informer.get(layout.nodeHealth(node.cluster, node.name))?.record;
    return found ?? nextState(this.factsOf(node), undefined);
  }

  /** What a node's health is derived from now. */
  factsOf(node: NodeRecord): HealthFacts {
    return this.#leading?.health.factsOf(node) ?? factsOf(this.#sources, node);
  }

  /** Calls back after each report, and after each change that time alone has made. Returns a function that ends it. */
  subscribe(listener: (cluster: string, name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** While the health is derived here, it tells for itself. */
  #tell(cluster: string, name: string): void {
    if (this.#leading) return;
    for (const listener of this.#listeners) listener(cluster, name);
  }
}
