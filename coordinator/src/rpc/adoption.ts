import type { AdoptCertificateRequest, AdoptCertificateResponse } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import type { EventRecorder } from '../events/recorder.ts';
import { renewalSource } from '../events/renewal-log.ts';
import type { Adoptions } from '../issuance/adoption.ts';
import { type CallContext, nodeOf } from './guard.ts';

/** Takes the caller's certificate over; a refusal is an event, for what is in place is then replaced. */
export async function adoptCertificate(
  { name: certificate, chain, specHash, proof }: AdoptCertificateRequest,
  context: CallContext,
  { adoptions, events }: { adoptions: Adoptions; events: EventRecorder },
): Promise<AdoptCertificateResponse> {
  const { cluster, name: node, role, serial } = nodeOf(context);
  try {
    const order = { cluster, node, name: certificate, chain, specHash, proof, identitySerial: serial };
    const { adoptedAtMs, renewAtMs, differences } = await adoptions.adopt(order);
    return { adoptedAt: new Date(adoptedAtMs), renewAt: new Date(renewAtMs), differences };
  } catch (error) {
    if (error instanceof EvercertError && !error.retryable) {
      const actor = `node/${cluster}/${node}`;
      const named = certificate.slice(0, 63);
      events.recordOncePerMinute(actor, ['AdoptionRefused', named, error.code], {
        cluster,
        node,
        actor,
        reason: 'AdoptionRefused',
        source: renewalSource(role),
        warning: true,
        certificate: named,
        message: error.message,
        errorCode: error.code,
      });
    }
    throw error;
  }
}
