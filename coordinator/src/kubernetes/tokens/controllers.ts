import { EvercertError } from '@evercert/shared/errors';
import type { EventRecorder } from '../../events/recorder.ts';
import { layout } from '../../state/layout.ts';
import type { Model } from '../../state/model.ts';
import { decodeRecord, type TokenRecord } from '../../state/records.ts';
import type { Store } from '../../store/index.ts';
import type { BridgeContext } from '../bridges.ts';
import { Controller, unlessMissing, type WorkResult } from '../core/index.ts';
import {
  type ClusterInfo,
  type ConfigMap,
  infoKey,
  infoName,
  infoNamespace,
  readInfo,
  sameData,
  serverOf,
  signedData,
} from './cluster-info.ts';
import { endOf, ownTokenId, type Secret, secretKey, signingTokenOf, tokenNamespace, tokenSecretType } from './secrets.ts';

export interface TokenControllersOptions {
  context: BridgeContext;
  store: Store;
  model: Model;
  events: EventRecorder;
}

export const secretsPath = `/api/v1/namespaces/${tokenNamespace}/secrets`;
const configMapsPath = `/api/v1/namespaces/${infoNamespace}/configmaps`;
/** Until the other controller has read everything. */
const waitMs = 500;

/** Deletes the Secrets of tokens that have ended, and keeps cluster-info signed with every token that is there, whoever made it. */
export class TokenControllers {
  readonly #options: TokenControllersOptions;
  readonly #secrets: Controller<Secret>;
  readonly #info: Controller<ConfigMap>;
  readonly #unsubscribe: (() => void)[] = [];

  constructor(options: TokenControllersOptions) {
    this.#options = options;
    const { context } = options;
    this.#secrets = new Controller<Secret>({
      ...context,
      name: 'bootstrap-tokens',
      path: secretsPath,
      query: { fieldSelector: `type=${tokenSecretType}` },
      reconcile: (_key, object) => this.#reconcileSecret(object),
    });
    this.#info = new Controller<ConfigMap>({
      ...context,
      name: 'cluster-info',
      path: configMapsPath,
      query: { fieldSelector: `metadata.name=${infoName}` },
      reconcile: (_key, object) => this.#reconcileInfo(object),
    });
  }

  start(): void {
    const { model, context } = this.#options;
    const sign = (): void => this.#info.enqueue(infoKey);
    this.#unsubscribe.push(
      model.tokens.subscribe(({ key }) => this.#secrets.enqueue(secretKey(key.slice(layout.tokens.length)))),
      model.clusters.subscribe(({ key }) => key === layout.cluster(context.cluster) && sign()),
      model.authorities.subscribe(({ key }) => key.startsWith(layout.authority(context.cluster, '')) && sign()),
    );
    this.#secrets.start();
    this.#info.start();
    sign();
  }

  async stop(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await Promise.all([this.#secrets.stop(), this.#info.stop()]);
  }

  async #reconcileSecret(object: Secret | undefined): Promise<WorkResult> {
    this.#info.enqueue(infoKey);
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) return undefined;
    const { context, events } = this.#options;
    const { cluster, clock } = context;
    const id = ownTokenId(object, cluster);
    if (id === undefined) return again(signingTokenOf(object, clock.nowMs())?.expiresAtMs, clock.nowMs());
    const token = await this.#token(id);
    const end = endOf(token, cluster, clock.nowMs());
    if (end === undefined) return again(token?.expiresAtMs, clock.nowMs());
    await deleteSecret(context, object);
    const message = `deleted the Secret of bootstrap token ${id} at the API server: ${end}`;
    events.record({ cluster, actor: 'coordinator', reason: 'TokenSecretDeleted', message });
    return undefined;
  }

  /** From the store itself: what another coordinator has just made may not have come into memory yet. */
  async #token(id: string): Promise<TokenRecord | undefined> {
    const entry = await this.#options.store.get(layout.token(id));
    return entry && decodeRecord<TokenRecord>(entry.key, entry.value);
  }

  async #reconcileInfo(object: ConfigMap | undefined): Promise<WorkResult> {
    // Neither is nothing there before all has been read, nor has a token gone.
    if (!this.#secrets.synced || !this.#info.synced) return { againAfterMs: waitMs };
    const { context } = this.#options;
    const tokens = this.#secrets.list().flatMap((secret) => signingTokenOf(secret, context.clock.nowMs()) ?? []);
    context.status.publishes(authoritiesOf(object?.data));
    const data = signedData(object?.data, this.#clusterInfo(object), tokens);
    if (object !== undefined && sameData(object.data, data)) return undefined;
    const metadata = object?.metadata ?? { name: infoName, namespace: infoNamespace };
    const body = { ...object, apiVersion: 'v1', kind: 'ConfigMap', metadata, data };
    if (object === undefined) await context.api.send({ method: 'POST', path: configMapsPath, body });
    else await context.api.send({ method: 'PUT', path: `${configMapsPath}/${infoName}`, body });
    context.status.publishes(authoritiesOf(data));
    context.logger.info('wrote cluster-info', { signatures: tokens.length });
    return undefined;
  }

  #clusterInfo(object: ConfigMap | undefined): ClusterInfo {
    const { context, model } = this.#options;
    const { cluster } = context;
    const policy = model.cluster(cluster)?.policy;
    const authority = model.authority(cluster, 'cluster-ca');
    if (!policy || !authority)
      throw new EvercertError('FailedPrecondition', `cluster ${cluster} is not known here: 'evercert cluster create ${cluster}'`);
    const server = serverOf(policy.controlPlaneEndpoint) ?? readInfo(object?.data)?.server;
    if (server === undefined)
      throw new EvercertError(
        'FailedPrecondition',
        `nobody knows under which address nodes reach the API server of cluster ${cluster}: set spec.controlPlaneEndpoint in its Cluster document`,
      );
    return { server, authorities: authority.bundle.map((der) => Buffer.from(der, 'base64')) };
  }
}

function authoritiesOf(data: Record<string, string> | undefined): string[] {
  return (readInfo(data)?.authorities ?? []).map((der) => der.toString('base64'));
}

/** Exactly this one. One that has gone meanwhile is no error. */
export async function deleteSecret({ api }: Pick<BridgeContext, 'api'>, { metadata }: Secret): Promise<void> {
  const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: metadata.uid } };
  await unlessMissing(api.send({ method: 'DELETE', path: `${secretsPath}/${encodeURIComponent(metadata.name)}`, body, secret: true }));
}

function again(atMs: number | undefined, nowMs: number): WorkResult {
  return atMs === undefined ? undefined : { againAfterMs: Math.max(1, atMs - nowMs) };
}
