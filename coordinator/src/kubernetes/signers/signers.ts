import { type ErrorCode, EvercertError, toEvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { certificatesToPem } from '@evercert/shared/x509';
import type { EventRecorder } from '../../events/recorder.ts';
import type { NodeRegistry } from '../../nodes/registry.ts';
import type { Model } from '../../state/model.ts';
import { nodeFacts } from '../../state/model.ts';
import type { BridgeContext } from '../bridges.ts';
import { unlessMissing, type WorkResult } from '../core/index.ts';
import { judge, type NodePermission, permissionsFor } from './approval.ts';
import { deletableAtMs } from './cleanup.ts';
import { actorOf, type CertificateOrder, noCluster, type RequestCertificates } from './issue.ts';
import { type ReadRequest, readRequest, requesterOf } from './request.ts';
import { nodeOf, violationOf } from './rules.ts';
import type { KnownNames } from './serving-names.ts';
import { signerOf } from './signer-names.ts';
import type { CertificateSigningRequest, RequestedCertificate, Requester, Signer } from './types.ts';
import type { RequestWriter } from './writer.ts';

export interface SignersOptions {
  context: Pick<BridgeContext, 'cluster' | 'config' | 'status' | 'clock' | 'logger'>;
  writer: RequestWriter;
  certificates: RequestCertificates;
  model: Model;
  registry: Pick<NodeRegistry, 'holder'>;
  events: EventRecorder;
}

/** The request itself can never be signed, whatever changes elsewhere. */
const hopeless = new Set<ErrorCode>(['InvalidCsr', 'WeakKey', 'KeyInUse', 'InvalidArgument']);
/** The coordinator refuses it, by what it knows. */
const refused = new Set<ErrorCode>(['Revoked', 'PermissionDenied']);
/** Requests whose first sight is remembered; beyond, the oldest are taken for new. */
const maxSeen = 10_000;

type Decided = 'Denied' | 'Failed' | 'Approved' | 'Pending';

/** One request, with all that is needed to decide about it. */
interface Case extends ReadRequest {
  object: CertificateSigningRequest;
  signer: Signer;
  requester: Requester;
}

/** Takes each CertificateSigningRequest one step on: judges what nobody has judged, signs what is approved, and says on the object what came of it. */
export class Signers {
  readonly #options: SignersOptions;
  /** Monotonic time by uid. */
  readonly #seen = new Map<string, number>();

  constructor(options: SignersOptions) {
    this.#options = options;
  }

  async reconcile(object: CertificateSigningRequest | undefined): Promise<WorkResult> {
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) return;
    const { cluster, config } = this.#options.context;
    const signer = signerOf(object.spec.signerName, cluster, config.ownSigners);
    const state = stateOf(object);
    const open = state === 'Pending' || (state === 'Approved' && !isIssued(object));
    const later = signer && open ? await this.#advance(object, signer, state) : undefined;
    return later ?? (await this.#cleanUp(object));
  }

  async #advance(object: CertificateSigningRequest, signer: Signer, state: Decided): Promise<WorkResult> {
    const requester = requesterOf(object);
    try {
      const one = { object, signer, requester, ...readRequest(object) };
      return await (state === 'Approved' ? this.#sign(one) : this.#judge(one));
    } catch (caught) {
      const error = toEvercertError(caught);
      if (!hopeless.has(error.code) && !isRefusal(error)) throw error;
      const reason = isRefusal(error) ? (error.code === 'Revoked' ? 'Revoked' : 'NodeRefused') : 'SignerValidationFailure';
      await this.#refuse(object, requester, state, reason, error);
      return undefined;
    }
  }

  async #judge(one: Case): Promise<WorkResult> {
    const { context, certificates, writer } = this.#options;
    const { object, signer, requester, asked } = one;
    // What breaks the signer's rules says nothing of anybody.
    if (violationOf(signer, asked) === undefined) certificates.refuse({ cluster: context.cluster, signer, asked, requester });
    const verdict = judge({
      signer,
      request: asked,
      requester,
      permission: await this.#permission(one),
      known: signer.kind === 'kubelet-serving' ? await this.#known(asked) : undefined,
      ageMs: this.#ageMs(object),
      rules: context.config.autoApprove[signer.ca] ?? [],
    });
    if (verdict.verdict === 'Leave') {
      context.logger.debug('a request is left as it is', { request: object.metadata.name, signer: signer.name, why: verdict.message });
      return verdict.againAfterMs === undefined ? undefined : { againAfterMs: verdict.againAfterMs };
    }
    if (verdict.verdict === 'Deny') {
      await this.#refuse(object, requester, 'Pending', verdict.reason, { code: 'PermissionDenied', message: verdict.message });
      return undefined;
    }
    const approved = await writer.decide(object, 'Approved', 'AutoApproved', `approved ${verdict.message}`);
    faultPoint('coordinator.kubernetes.csr-approved');
    this.#tell(object, requester, 'RequestApproved', `approved CertificateSigningRequest ${object.metadata.name} ${verdict.message}`);
    return this.#sign({ ...one, object: approved });
  }

  async #sign({ object, signer, requester, asked, csr }: Case): Promise<WorkResult> {
    const { context, certificates, writer } = this.#options;
    const violation = violationOf(signer, asked);
    if (violation !== undefined) throw new EvercertError('InvalidArgument', violation);
    const order: CertificateOrder = {
      cluster: context.cluster,
      signer,
      requestName: object.metadata.name,
      asked,
      requester,
      expirationSeconds: object.spec.expirationSeconds,
      csr,
      backdateMs: context.config.backdate,
    };
    const { chain } = await certificates.issue(order);
    faultPoint('coordinator.kubernetes.csr-issued');
    await writer.answer(object, certificatesToPem(chain));
    faultPoint('coordinator.kubernetes.csr-answered');
    context.status.count('signed');
    return undefined;
  }

  /** Denies what is pending; what somebody has approved can only fail. */
  async #refuse(
    object: CertificateSigningRequest,
    requester: Requester,
    state: Decided,
    reason: string,
    { code, message }: Pick<EvercertError, 'code' | 'message'>,
  ): Promise<void> {
    const { context, writer } = this.#options;
    const { name } = object.metadata;
    if (state === 'Approved') {
      await writer.fail(object, reason, message);
      context.status.count('failed');
      this.#tell(
        object,
        requester,
        'RequestFailed',
        `did not sign CertificateSigningRequest ${name}, although it is approved: ${message}`,
        code,
      );
      return;
    }
    await writer.decide(object, 'Denied', reason, message);
    context.status.count('denied');
    this.#tell(object, requester, 'RequestDenied', `denied CertificateSigningRequest ${name}: ${message}`, code);
  }

  async #permission({ signer, asked, requester }: Case): Promise<NodePermission | undefined> {
    for (const permission of permissionsFor({ signer, request: asked, requester })) {
      if (await this.#options.writer.may(requester, permission)) return permission;
    }
    return undefined;
  }

  async #known(asked: RequestedCertificate): Promise<KnownNames | undefined> {
    const { context, model, registry, writer } = this.#options;
    const node = nodeOf(asked);
    const policy = model.cluster(context.cluster)?.policy;
    if (!policy) throw noCluster(context.cluster);
    if (node === undefined) return undefined;
    const record = model.node(context.cluster, node);
    const others = model.nodesOf(context.cluster).filter(({ name }) => name !== node);
    const holders = new Map<string, string>();
    for (const address of asked.ipAddresses) {
      const holder = await registry.holder(context.cluster, address);
      if (holder !== undefined && holder !== node) holders.set(address, holder);
    }
    for (const { name, dnsNames } of others) for (const each of [name, ...dnsNames]) holders.set(each.toLowerCase(), name);
    return {
      node: await unlessMissing(writer.addressesOf(node)),
      registered: record && nodeFacts(record),
      cluster: policy,
      holder: (name) => holders.get(name),
    };
  }

  #ageMs({ metadata }: CertificateSigningRequest): number {
    const nowMs = this.#options.context.clock.monotonicMs();
    const seen = this.#seen.get(metadata.uid);
    if (seen !== undefined) return nowMs - seen;
    if (this.#seen.size >= maxSeen) this.#seen.delete(this.#seen.keys().next().value ?? '');
    this.#seen.set(metadata.uid, nowMs);
    return 0;
  }

  /** Where kube-controller-manager does not do it. */
  async #cleanUp(object: CertificateSigningRequest): Promise<WorkResult> {
    const { context, writer } = this.#options;
    const atMs = context.config.cleanup ? deletableAtMs(object) : undefined;
    if (atMs === undefined) return undefined;
    const leftMs = atMs - context.clock.nowMs();
    if (leftMs > 0) return { againAfterMs: leftMs };
    await unlessMissing(writer.delete(object));
    return undefined;
  }

  #tell(object: CertificateSigningRequest, requester: Requester, reason: string, message: string, errorCode?: ErrorCode): void {
    const { events, context } = this.#options;
    const actor = actorOf(requester);
    events.recordOncePerMinute(actor, [reason, object.metadata.uid], {
      cluster: context.cluster,
      actor,
      reason,
      message,
      ...(errorCode && { errorCode, warning: true }),
    });
  }
}

function stateOf({ status }: CertificateSigningRequest): Decided {
  const types = new Set((status?.conditions ?? []).filter(({ status: is }) => is !== 'False').map(({ type }) => type));
  if (types.has('Denied')) return 'Denied';
  if (types.has('Failed')) return 'Failed';
  return types.has('Approved') ? 'Approved' : 'Pending';
}

function isIssued({ status }: CertificateSigningRequest): boolean {
  return (status?.certificate ?? '') !== '';
}

/** The API server has words of its own for what the bridge may not do: that is no verdict on a request. */
function isRefusal({ code, metadata }: EvercertError): boolean {
  return refused.has(code) && metadata['httpStatus'] === undefined;
}
