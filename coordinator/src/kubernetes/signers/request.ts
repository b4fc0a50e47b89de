import { EvercertError } from '@evercert/shared/errors';
import { type ParsedCsr, parseCsr, pemBlocks } from '@evercert/shared/x509';
import type { CertificateSigningRequest, RequestedCertificate, Requester } from './types.ts';

export interface ReadRequest {
  /** DER. */
  csr: Buffer;
  asked: RequestedCertificate;
}

/** InvalidCsr: not one PKCS#10 request. WeakKey: a key that is not accepted here. */
export function readRequest({ spec }: CertificateSigningRequest): ReadRequest {
  const block = pemBlocksOf(Buffer.from(spec.request, 'base64')).find(({ label }) => label === 'CERTIFICATE REQUEST');
  if (block === undefined) throw new EvercertError('InvalidCsr', 'spec.request holds no PEM block CERTIFICATE REQUEST');
  return { csr: block.der, asked: { ...contentsOf(parseCsr(block.der)), usages: spec.usages ?? [] } };
}

export function requesterOf({ spec }: CertificateSigningRequest): Requester {
  const { username = '', uid = '', groups = [], extra = {} } = spec;
  return { username, uid, groups, extra };
}

function pemBlocksOf(text: Buffer): ReturnType<typeof pemBlocks> {
  try {
    return pemBlocks(text);
  } catch (error) {
    throw new EvercertError('InvalidCsr', 'spec.request is no PEM text', { cause: error });
  }
}

function contentsOf({ requested }: ParsedCsr): Omit<RequestedCertificate, 'usages'> {
  const { commonName, organizations, dnsNames, ipAddresses, uris, otherNames } = requested;
  return { commonName, organizations, dnsNames, ipAddresses, uris, otherNames };
}
