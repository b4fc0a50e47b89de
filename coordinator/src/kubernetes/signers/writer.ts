import { formatRfc3339 } from '@evercert/shared/manifest';
import { visibleLine } from '@evercert/shared/text';
import type { KubernetesApi } from '../core/index.ts';
import type { NodePermission } from './approval.ts';
import type { NodeAddress } from './serving-names.ts';
import type { CertificateSigningRequest, Condition, Requester } from './types.ts';

export const requestsPath = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
const maxMessage = 1000;

/** What the signers read and write at the API server. Errors: those of KubernetesApi. */
export class RequestWriter {
  readonly #api: KubernetesApi;
  readonly #nowMs: () => number;

  constructor(api: KubernetesApi, nowMs: () => number) {
    this.#api = api;
    this.#nowMs = nowMs;
  }

  /** Approves or denies. Conflict: somebody changed the request meanwhile. */
  decide(
    request: CertificateSigningRequest,
    type: 'Approved' | 'Denied',
    reason: string,
    message: string,
  ): Promise<CertificateSigningRequest> {
    return this.#put(request, 'approval', {
      ...request.status,
      conditions: [...(request.status?.conditions ?? []), this.#condition(type, reason, message)],
    });
  }

  fail(request: CertificateSigningRequest, reason: string, message: string): Promise<CertificateSigningRequest> {
    return this.#put(request, 'status', {
      ...request.status,
      conditions: [...(request.status?.conditions ?? []), this.#condition('Failed', reason, message)],
    });
  }

  answer(request: CertificateSigningRequest, certificatePem: string): Promise<CertificateSigningRequest> {
    return this.#put(request, 'status', { ...request.status, certificate: Buffer.from(certificatePem).toString('base64') });
  }

  /** Exactly this state of it. */
  delete({ metadata }: CertificateSigningRequest): Promise<unknown> {
    const { name, uid, resourceVersion } = metadata;
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid, resourceVersion } };
    return this.#api.send({ method: 'DELETE', path: `${requestsPath}/${encodeURIComponent(name)}`, body });
  }

  /** Whether the requester may create certificatesigningrequests/PERMISSION: asked of the API server's authorizers, whichever they are. */
  async may({ username, uid, groups, extra }: Requester, permission: NodePermission): Promise<boolean> {
    const answer = await this.#api.send<{ status?: { allowed?: boolean } }>({
      method: 'POST',
      path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
      body: {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: {
          user: username,
          ...(uid !== '' && { uid }),
          groups,
          extra,
          resourceAttributes: {
            group: 'certificates.k8s.io',
            resource: 'certificatesigningrequests',
            subresource: permission,
            verb: 'create',
            version: '*',
          },
        },
      },
    });
    return answer.status?.allowed === true;
  }

  /** status.addresses of a Node object. NotFound: there is none. */
  async addressesOf(node: string): Promise<NodeAddress[]> {
    const found = await this.#api.send<{ status?: { addresses?: NodeAddress[] } }>({
      method: 'GET',
      path: `/api/v1/nodes/${encodeURIComponent(node)}`,
    });
    return found.status?.addresses ?? [];
  }

  #put(request: CertificateSigningRequest, subresource: string, status: object): Promise<CertificateSigningRequest> {
    const { name } = request.metadata;
    return this.#api.send({
      method: 'PUT',
      path: `${requestsPath}/${encodeURIComponent(name)}/${subresource}`,
      // Objects in lists do not say what they are.
      body: { ...request, apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest', status },
    });
  }

  #condition(type: Condition['type'], reason: string, message: string): Condition {
    // Kubernetes keeps whole seconds.
    const lastUpdateTime = formatRfc3339(Math.floor(this.#nowMs() / 1000) * 1000);
    return { type, status: 'True', reason, message: visibleLine(message).slice(0, maxMessage), lastUpdateTime };
  }
}
