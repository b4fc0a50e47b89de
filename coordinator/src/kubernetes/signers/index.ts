import type { EventRecorder } from '../../events/recorder.ts';
import type { NodeRegistry } from '../../nodes/registry.ts';
import type { Model } from '../../state/model.ts';
import type { BridgeFeature } from '../bridges.ts';
import { Controller, unlessMissing } from '../core/index.ts';
import { RequestCertificates, type RequestCertificatesOptions } from './issue.ts';
import { Signers } from './signers.ts';
import type { CertificateSigningRequest } from './types.ts';
import { RequestWriter, requestsPath } from './writer.ts';

export { type ApprovalQuestion, judge, permissionsFor } from './approval.ts';
export { certificateName } from './certificate-names.ts';
export { deletableAtMs } from './cleanup.ts';
export { backdateMs, lifetimeMs } from './lifetime.ts';
export { violationOf } from './rules.ts';
export { namesFault } from './serving-names.ts';
export { signerOf } from './signer-names.ts';
export { Signers, type SignersOptions } from './signers.ts';
export { standingFault } from './standing.ts';
export type { CertificateSigningRequest, RequestedCertificate, Requester, Signer } from './types.ts';
export { RequestWriter } from './writer.ts';

export interface SignersFeatureOptions extends RequestCertificatesOptions {
  model: Model;
  registry: NodeRegistry;
  events: EventRecorder;
}

/** Approves and signs CertificateSigningRequests of a cluster, where `signers` is switched on. */
export function signersFeature(options: SignersFeatureOptions): BridgeFeature {
  const certificates = new RequestCertificates(options);
  return (context) => {
    if (!context.config.signers) return [];
    const writer = new RequestWriter(context.api, options.nowMs);
    const signers = new Signers({ context, writer, certificates, ...options });
    const controller = new Controller<CertificateSigningRequest>({
      name: 'signers',
      path: requestsPath,
      // Deleted meanwhile: nobody waits for it any more.
      reconcile: async (_key, object) => await unlessMissing(signers.reconcile(object)),
      ...context,
    });
    controller.start();
    return [controller];
  };
}
