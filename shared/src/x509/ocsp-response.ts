/** OCSP responses (RFC 6960 section 4.2), as a delegated responder writes them. */
import { hash } from 'node:crypto';
import { EvercertError } from '../errors/index.ts';
import { signingAlgorithm } from './algorithms.ts';
import { sequenceSlices } from './asn1.ts';
import {
  bitString,
  contextConstructed,
  contextPrimitive,
  enumerated,
  generalizedTime,
  objectIdentifier,
  octetString,
  sequence,
} from './der.ts';
import { type CertificateSigner, spkiDer } from './keys.ts';
import type { OcspCertId } from './ocsp-request.ts';
import { oids } from './oids.ts';
import { extension } from './raw-extensions.ts';
import { type CrlReason, reasonCodes } from './revocation-reasons.ts';

export type OcspStatus = 'good' | 'unknown' | { revokedAt: Date; reason: CrlReason };

export interface OcspAnswer {
  certificate: OcspCertId;
  status: OcspStatus;
}

export interface OcspResponseContents {
  /** Holds the key of the delegated signer's certificate. */
  signer: CertificateSigner;
  /** DER of that certificate, which the CA itself issued, and of those above it up to what clients trust; they go along. */
  signerChain: readonly Buffer[];
  answers: readonly OcspAnswer[];
  producedAt: Date;
  thisUpdate: Date;
  nextUpdate: Date;
  /** As the request had it. */
  nonce?: Buffer | undefined;
}

/** Responses without an answer, by their names in RFC 6960 section 4.2.1. They are not signed. */
export const ocspErrors = { malformedRequest: 1, internalError: 2, tryLater: 3, sigRequired: 5, unauthorized: 6 } as const;

export function createOcspError(error: keyof typeof ocspErrors): Buffer {
  return sequence(enumerated(ocspErrors[error]));
}

const basicType = objectIdentifier(oids.ocspBasic);
const nonceType = objectIdentifier(oids.ocspNonce);

/** Signs a basic response in DER. Times are cut to whole seconds. InvalidArgument: no answer, or times in the wrong order. */
export async function createOcspResponse(contents: OcspResponseContents): Promise<Buffer> {
  const { signer, signerChain, answers, producedAt, thisUpdate, nextUpdate, nonce } = contents;
  if (answers.length === 0 || !(thisUpdate.getTime() < nextUpdate.getTime())) {
    throw new EvercertError('InvalidArgument', 'an OCSP response has at least one answer, and ends after it begins');
  }
  const times = [generalizedTime(thisUpdate), contextConstructed(0, generalizedTime(nextUpdate))];
  const data = sequence(
    contextConstructed(2, octetString(keyHash(signer))),
    generalizedTime(producedAt),
    sequence(...answers.map(({ certificate, status }) => sequence(certificate.encoded, encodeStatus(status), ...times))),
    ...(nonce === undefined ? [] : [contextConstructed(1, sequence(extension(nonceType, false, octetString(nonce))))]),
  );
  const basic = sequence(
    data,
    signingAlgorithm(signer.keyAlgorithm).encoded,
    bitString(await signer.sign(data)),
    contextConstructed(0, sequence(...signerChain)),
  );
  return sequence(enumerated(0), contextConstructed(0, sequence(basicType, octetString(basic))));
}

/** KeyHash of the ResponderID: SHA-1 of the public key's bits, as RFC 6960 has it. It names the key and protects nothing. */
function keyHash(signer: CertificateSigner): Buffer {
  const [, key] = sequenceSlices(spkiDer(signer.publicKey), 'the public key');
  return hash('sha1', key?.content.subarray(1) ?? Buffer.alloc(0), 'buffer');
}

function encodeStatus(status: OcspStatus): Buffer {
  if (status === 'good') return contextPrimitive(0, Buffer.alloc(0));
  if (status === 'unknown') return contextPrimitive(2, Buffer.alloc(0));
  const code = reasonCodes[status.reason];
  const reason = code === 0 ? [] : [contextConstructed(0, enumerated(code))];
  return contextConstructed(1, generalizedTime(status.revokedAt), ...reason);
}
