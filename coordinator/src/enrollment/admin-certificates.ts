import { EvercertError } from '@evercert/shared/errors';
import { issueLeaf, type LeafProfile, newSerial, openCsr, parseCertificate } from '@evercert/shared/x509';
import type { ControlCa } from '../ca/control-ca.ts';
import { chainOf } from '../ca/generations.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { adminUriOf } from '../identity-uris.ts';

/** The identity of a human or program that may call the admin API. */
export function adminProfile(name: string): LeafProfile {
  return {
    commonName: name,
    organizations: [],
    dnsNames: [],
    ipAddresses: [],
    uris: [adminUriOf(name)],
    usages: ['digital signature', 'client auth'],
  };
}

export interface AdminCertificatesOptions {
  controlCa: ControlCa;
  events: EventRecorder;
  nowMs: () => number;
  backdateMs: number;
}

/** Gives an admin his certificate once more, by the present control CA: what an admin elsewhere needs during its rotation. */
export class AdminCertificates {
  readonly #options: AdminCertificatesOptions;

  constructor(options: AdminCertificatesOptions) {
    this.#options = options;
  }

  /**
   * Same name, same end, another key: nobody has a certificate for longer by this. DER, leaf first. Errors: InvalidCsr, WeakKey, FailedPrecondition (the present CA ends before it).
   *
   * @param admin the caller, as its certificate tells it.
   */
  async renew({ name, notAfterMs }: { name: string; notAfterMs: number }, csrDer: Uint8Array): Promise<Buffer[]> {
    const { controlCa, events, nowMs, backdateMs } = this.#options;
    const csr = await openCsr(csrDer);
    const issuer = await controlCa.issuer();
    const notBeforeMs = nowMs() - backdateMs;
    const endMs = Math.min(notAfterMs, issuer.notAfter.getTime());
    if (endMs <= notBeforeMs) throw new EvercertError('FailedPrecondition', 'the control CA has ended: rotate it first');
    const certificate = await issueLeaf(issuer, {
      spki: csr.spki,
      keyAlgorithm: csr.keyAlgorithm,
      profile: adminProfile(name),
      serial: newSerial(),
      notBefore: new Date(notBeforeMs),
      notAfter: new Date(endMs),
    });
    const { serial } = parseCertificate(certificate);
    const until = new Date(endMs).toISOString();
    const message = `gave ${name} an admin certificate by the present control CA, until ${until} as before`;
    const details = { issuer: 'control-ca', issuerSerial: issuer.serial, publicKeySha256: csr.spkiSha256, notAfter: until };
    events.record({ actor: `admin/${name}`, reason: 'AdminCertificateRenewed', serial, message, details });
    return chainOf(controlCa.record, { certificate: certificate.toString('base64'), issuerSerial: issuer.serial });
  }
}
