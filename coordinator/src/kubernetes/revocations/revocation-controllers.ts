import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { type RevocationApiVersion, revocationApiVersions } from '@evercert/shared/manifest';
import { kubernetesSource, type RevocationChanges } from '../../apply/revocations.ts';
import type { Revocations } from '../../revocation/index.ts';
import { layout } from '../../state/layout.ts';
import type { Model } from '../../state/model.ts';
import type { RevocationRecord } from '../../state/records.ts';
import type { BridgeContext } from '../bridges.ts';
import { Controller, type KubernetesApi, type WorkResult } from '../core/index.ts';
import { MatchCounts } from './match-counts.ts';
import { ObjectEvents } from './object-events.ts';
import { collectionPath, describeObject, type ObjectSource, type RevocationObject, readObject } from './objects.ts';
import { UntoldRefusals } from './refusals.ts';
import { ObjectReports } from './reports.ts';
import type { Refused } from './status.ts';

export interface RevocationControllersOptions {
  context: BridgeContext;
  model: Model;
  revocations: Revocations;
  changes: RevocationChanges;
}

const actor = kubernetesSource;
/** Until everything has been read. */
const waitMs = 500;

interface Followed extends ObjectSource {
  controller: Controller<RevocationObject>;
}

/**
 * Puts a cluster's RenewRevocation objects in force and lifts them, as they come and go at the API server. There is no finalizer: an object's deletion waits for nobody. What was deleted while nobody
 * looked is found by comparing what the API server has, once all of it has been read, with what is in force; while it does not answer, nothing is lifted.
 */
export class RevocationControllers {
  readonly #options: RevocationControllersOptions;
  readonly #followed: readonly Followed[];
  readonly #refusals: UntoldRefusals;
  readonly #reports: ObjectReports;
  /** Generation that was taken, by uid: what has not changed is not read again. */
  readonly #taken = new Map<string, number>();
  #unsubscribe: () => void = () => undefined;

  constructor(options: RevocationControllersOptions) {
    this.#options = options;
    const { context, revocations } = options;
    const { cluster, clock } = context;
    this.#refusals = new UntoldRefusals(cluster, revocations, (name) => this.#enqueue(name));
    this.#reports = new ObjectReports({
      context,
      refusals: this.#refusals,
      counts: new MatchCounts({ cluster, revocations, clock }),
      events: new ObjectEvents(context),
    });
    const sources = context.config.revocationNamespaces.flatMap((namespace) =>
      revocationApiVersions.map((apiVersion): ObjectSource => ({ apiVersion, namespace })),
    );
    this.#followed = sources.map((source) => ({ ...source, controller: this.#controller(source) }));
  }

  start(): void {
    const { revocations, context } = this.#options;
    // A name that was taken may be free now.
    this.#unsubscribe = revocations.objects.subscribe(({ key, type }) => {
      const prefix = layout.revocationsOf(context.cluster);
      if (type === 'delete' && key.startsWith(prefix)) this.#enqueue(key.slice(prefix.length));
    });
    for (const { controller, ...source } of this.#followed) {
      controller.start();
      for (const record of revocations.list(context.cluster)) if (isFrom(record, source)) controller.enqueue(keyOf(source, record.name));
    }
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#refusals.stop();
    await Promise.all(this.#followed.map(({ controller }) => controller.stop()));
  }

  #enqueue(name: string): void {
    for (const { controller, ...source } of this.#followed) {
      const key = keyOf(source, name);
      if (controller.get(key)) controller.enqueue(key);
    }
  }

  #controller(source: ObjectSource): Controller<RevocationObject> {
    const { context } = this.#options;
    const controller: Controller<RevocationObject> = new Controller<RevocationObject>({
      ...context,
      api: withHint(context.api, source.apiVersion),
      name: `revocations of ${source.apiVersion.split('/')[0]} in ${source.namespace}`,
      path: collectionPath(source),
      reconcile: (key, object) => (controller.synced ? this.#reconcile(source, key, object) : Promise.resolve({ againAfterMs: waitMs })),
    });
    return controller;
  }

  async #reconcile(source: ObjectSource, key: string, object: RevocationObject | undefined): Promise<WorkResult> {
    const name = key.slice(source.namespace.length + 1);
    // Whoever deletes it means it, whatever else holds the object.
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) return this.#lift(source, name);
    const { context, revocations, model } = this.#options;
    if (!model.cluster(context.cluster))
      throw new EvercertError(
        'FailedPrecondition',
        `cluster ${context.cluster} is not known here: 'evercert cluster create ${context.cluster}'`,
      );
    const refused = await this.#take(source, object);
    const inForce = revocations.get(context.cluster, name);
    const record = inForce && isFrom(inForce, source) ? inForce : undefined;
    return this.#reports.report(source, object, { refused, record });
  }

  async #lift(source: ObjectSource, name: string): Promise<undefined> {
    const { context, revocations, changes } = this.#options;
    const cached = revocations.objects.get(layout.revocation(context.cluster, name));
    if (!cached || !isFrom(cached.record, source)) return;
    this.#taken.delete(cached.record.uid ?? '');
    this.#reports.forget(cached.record.uid ?? '');
    await changes.lift(cached, actor);
    this.#refusals.forget(name);
    context.logger.info('lifted a RenewRevocation that is gone at the API server', { revocation: name, namespace: source.namespace });
  }

  /** Puts it in force; undefined: it is. */
  async #take(source: ObjectSource, object: RevocationObject): Promise<Refused | undefined> {
    const { context, revocations, changes } = this.#options;
    const { name, uid, generation = 1 } = object.metadata;
    const present = revocations.get(context.cluster, name);
    if (present && !isFrom(present, source)) return nameTaken(present);
    if (present?.uid === uid && this.#taken.get(uid) === generation) return undefined;
    const read = readObject(object, source.apiVersion);
    if ('fault' in read) return { reason: 'Invalid', message: read.fault };
    try {
      await changes.put(context.cluster, read.document, { source: kubernetesSource, uid }, actor);
      this.#taken.set(uid, generation);
      return undefined;
    } catch (caught) {
      const error = toEvercertError(caught);
      if (error.code !== 'InvalidManifest') throw error;
      return { reason: 'TooManyEntries', message: error.message };
    }
  }
}

function keyOf({ namespace }: ObjectSource, name: string): string {
  return `${namespace}/${name}`;
}

function isFrom(record: RevocationRecord, { apiVersion, namespace }: ObjectSource): boolean {
  return record.source === kubernetesSource && record.apiVersion === apiVersion && record.namespace === namespace;
}

function nameTaken(present: RevocationRecord): Refused {
  const whose = present.source === kubernetesSource ? describeObject(present, present.name) : `an object of '${present.source}'`;
  const help = present.source === kubernetesSource ? '' : ` ('evercert delete revocation ${present.name}')`;
  return {
    reason: 'NameTaken',
    message: `metadata.name: the cluster has a RenewRevocation of this name already, ${whose}: give this one another name, or delete that one${help}`,
  };
}

/** Where the definition is missing, the server knows no such path. */
function withHint(api: KubernetesApi, apiVersion: RevocationApiVersion): KubernetesApi {
  return {
    send: (request) => api.send(request),
    list: (path, query) => api.list(path, query),
    watch: (request) => api.watch(request),
    snapshot: async (path, query) => {
      try {
        return await api.snapshot(path, query);
      } catch (error) {
        if (!(error instanceof EvercertError) || error.code !== 'NotFound') throw error;
        const what = `the API server does not know RenewRevocations of ${apiVersion}: 'kubectl apply -f deploy/kubernetes/renewrevocation-crd.yaml'`;
        throw new EvercertError('FailedPrecondition', what, { cause: error, metadata: error.metadata });
      }
    },
  };
}
