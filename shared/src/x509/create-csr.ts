import type { KeyObject } from 'node:crypto';
import { signingAlgorithm } from './algorithms.ts';
import { bitString, contextConstructed, objectIdentifier, sequence, setOf, unsignedInteger } from './der.ts';
import { subjectAltNameExtension } from './extensions.ts';
import { encodeGeneralNames, normalizeNames } from './general-names.ts';
import { signerFor, spkiDer } from './keys.ts';
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
  const info = sequence(
    unsignedInteger(Buffer.of(0)),
    encodeName({ commonName, organizations }),
    spkiDer(signer.publicKey),
    contextConstructed(0, ...attributes),
  );
  return sequence(info, signingAlgorithm(signer.keyAlgorithm).encoded, bitString(await signer.sign(info)));
}

function extensionsAttribute(...extensions: Buffer[]): Buffer {
  return sequence(extensionRequest, setOf(sequence(...extensions)));
}
