import { type ErrorCode, EvercertError, toEvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import type { TokenAdmin, TokenOrder } from '../../enrollment/token-admin.ts';
import { layout } from '../../state/layout.ts';
import type { Model } from '../../state/model.ts';
import type { TokenRecord } from '../../state/records.ts';
import type { KubernetesBridges } from '../bridges.ts';
import { deleteSecret, secretsPath } from './controllers.ts';
import { ownTokenId, type Secret, secretName, secretOf } from './secrets.ts';

export interface ClusterTokensOptions {
  tokens: Pick<TokenAdmin, 'create' | 'remove'>;
  bridges: Pick<KubernetesBridges, 'require'>;
  model: Model;
}

/** cluster-info has a signature for each: an object of Kubernetes holds 1 MiB. */
const maxTokens = 1000;
/** Trying again can help. */
const passing = new Set<ErrorCode>(['Unavailable', 'DeadlineExceeded', 'Overloaded', 'Cancelled']);

/** Bootstrap tokens, those that the cluster's API server knows, too, included. */
export class ClusterTokens {
  readonly #options: ClusterTokensOptions;

  constructor(options: ClusterTokensOptions) {
    this.#options = options;
  }

  /**
   * As TokenAdmin.create. With `kubernetes`, the token is a Secret at the API server when this resolves; where that fails, no token is made. Errors, beside: FailedPrecondition (no bridge, or
   * the API server refuses), Unavailable, DeadlineExceeded, Overloaded.
   */
  async create(order: TokenOrder, actor: string): Promise<{ token: string; record: TokenRecord }> {
    const { tokens, bridges, model } = this.#options;
    if (!order.kubernetes) return tokens.create(order, actor);
    const { api } = bridges.require(order.cluster, 'bootstrapTokens');
    const there = model.tokens.list().filter(({ cluster, kubernetes }) => cluster === order.cluster && kubernetes !== undefined);
    if (there.length >= maxTokens)
      throw new EvercertError(
        'FailedPrecondition',
        `cluster ${order.cluster} has ${there.length} tokens at its API server already: delete some`,
      );
    // First the record: a Secret without one is deleted by the controller, whatever breaks off here.
    const made = await tokens.create(order, actor);
    faultPoint('coordinator.kubernetes.token-recorded');
    try {
      const body = secretOf(made.record, made.token.split('.')[1] ?? '');
      await api.send({ method: 'POST', path: secretsPath, body, secret: true });
    } catch (error) {
      await tokens.remove(made.record.id, actor);
      throw refusal(order.cluster, toEvercertError(error));
    }
    faultPoint('coordinator.kubernetes.token-written');
    return made;
  }

  /** NotFound: no such token. Unavailable: it is deleted here, and its Secret will be as soon as the API server answers. */
  async remove(id: string, actor: string): Promise<void> {
    const { tokens, bridges, model } = this.#options;
    const record = model.tokens.get(layout.token(id))?.record;
    await tokens.remove(id, actor);
    if (!record?.kubernetes) return;
    try {
      const context = bridges.require(record.cluster, 'bootstrapTokens');
      const secret = await context.api.send<Secret>({ method: 'GET', path: `${secretsPath}/${secretName(id)}`, secret: true });
      if (ownTokenId(secret, record.cluster) === id) await deleteSecret(context, secret);
    } catch (caught) {
      const error = toEvercertError(caught);
      if (error.code === 'NotFound') return;
      throw new EvercertError(
        'Unavailable',
        `token ${id} is deleted, but its Secret at the API server is still there: ${error.message}; the bridge deletes it as soon as it can`,
        { cause: error },
      );
    }
  }
}

function refusal(cluster: string, error: EvercertError): EvercertError {
  const { code, message, retryAfterMs, metadata } = error;
  if (code === 'AlreadyExists')
    return new EvercertError('Conflict', 'the token id is taken at the API server: try again', { cause: error });
  return new EvercertError(
    passing.has(code) ? code : 'FailedPrecondition',
    `the API server of cluster ${cluster} did not take the token, and none was made: ${message}`,
    { cause: error, metadata, ...(retryAfterMs !== undefined && { retryAfterMs }) },
  );
}
