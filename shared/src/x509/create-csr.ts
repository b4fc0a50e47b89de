import type { KeyObject } from 'node:crypto';
import { signingAlgorithm } from './algorithms.ts';
import { bitString, contextConstructed, objectIdentifier, sequence, setOf, unsignedInteger } from './der.ts';
import { caExtensions, subjectAltNameExtension } from './extensions.ts';
import { encodeGeneralNames, normalizeNames } from './general-names.ts';
import { type CertificateSigner, signerFor, spkiDer } from './keys.ts';
import { checkSubject, encodeName } from './names.ts';
import { oids } from './oids.ts';

export interface CsrContents {
  privateKey: KeyObject;
  commonName: string;
  organizations?: readonly string[];
  dnsNames?: readonly string[];
  ipAddresses?: readonly string[];
  uris?: readonly string[];
}

const extensionRequest = objectIdentifier(oids.extensionRequest);

/** Makes a PKCS#10 request (RFC 2986) in DER, signed on the thread pool. InvalidArgument: a name that cannot stand in it, or a key that is not listed. */
export async function createCsr(contents: CsrContents): Promise<Buffer> {
  const { privateKey, commonName, organizations = [], dnsNames = [], ipAddresses = [], uris = [] } = contents;
  const signer = signerFor(privateKey);
  checkSubject({ commonName, organizations });
  const names = encodeGeneralNames(normalizeNames({ dnsNames: [...dnsNames], ipAddresses: [...ipAddresses], uris: [...uris] }));
  const attributes = names === undefined ? [] : [extensionsAttribute(subjectAltNameExtension(names, false))];
  return await signRequest(signer, encodeName({ commonName, organizations }), attributes);
}

/**
 * Makes the request of a CA that another one is to sign, as `createCsr` does; it asks for CA:TRUE and the key usages of one.
 *
 * @param uniqueAttribute goes into the subject's serialNumber attribute: keeps several generations of one CA apart.
 */
export async function createCaCsr(signer: CertificateSigner, commonName: string, uniqueAttribute: string): Promise<Buffer> {
  const fields = { commonName, serialNumber: uniqueAttribute };
  checkSubject(fields);
  return await signRequest(signer, encodeName(fields), [extensionsAttribute(...caExtensions())]);
}

async function signRequest(signer: CertificateSigner, subject: Buffer, attributes: Buffer[]): Promise<Buffer> {
  const info = sequence(unsignedInteger(Buffer.of(0)), subject, spkiDer(signer.publicKey), contextConstructed(0, ...attributes));
  return sequence(info, signingAlgorithm(signer.keyAlgorithm).encoded, bitString(await signer.sign(info)));
}

function extensionsAttribute(...extensions: Buffer[]): Buffer {
  return sequence(extensionRequest, setOf(sequence(...extensions)));
}
