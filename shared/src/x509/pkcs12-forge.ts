import forge from 'node-forge';
import { packWithPkijs } from './pkcs12-pkijs.ts';
import type { Pkcs12Contents } from './types.ts';

const options = { algorithm: 'aes256', prfAlgorithm: 'sha256', count: 10_000, saltSize: 16 } as const;

/** PKCS#12 of an RSA key and a chain of RSA certificates. */
export async function packWithForge(contents: Pkcs12Contents): Promise<Buffer> {
  const certificates = contents.chain.map((der) => forge.pki.certificateFromAsn1(forge.asn1.fromDer(der.toString('latin1'))));
  // node-forge writes certificates anew from what it understood; where that is not the very same bytes, the signature would no longer fit.
  const exact = certificates.every((certificate, index) => contents.chain[index]?.equals(derOf(forge.pki.certificateToAsn1(certificate))));
  if (!exact) return await packWithPkijs(contents);
  const key = forge.pki.privateKeyFromPem(contents.privateKey.export({ type: 'pkcs1', format: 'pem' }));
  const pfx = forge.pkcs12.toPkcs12Asn1(key, certificates, contents.password, { ...options, friendlyName: contents.friendlyName });
  return derOf(pfx);
}

function derOf(node: forge.asn1.Asn1): Buffer {
  return Buffer.from(forge.asn1.toDer(node).getBytes(), 'latin1');
}
