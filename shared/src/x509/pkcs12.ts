import { EvercertError, toEvercertError } from '../errors/index.ts';
import { certificateSpki } from './certificate-parts.ts';
import { keyAlgorithmOf, pairMatches } from './keys.ts';
import { spkiAlgorithm } from './spki.ts';
import type { Pkcs12Contents } from './types.ts';

const maxChain = 16;

/**
 * Packs a key and its chain as PKCS#12 (RFC 7292): the key under AES-256-CBC (PBES2). RSA throughout goes by node-forge (HMAC-SHA-1 as integrity check, certificates in the
 * clear), everything else by pkijs (HMAC-SHA-256, certificates encrypted as well), as node-forge cannot read EC keys.
 * InvalidArgument: no chain, a password that is empty or not ASCII, or a key that is not the leaf's. InvalidCertificate: a certificate cannot be read.
 */
export async function createPkcs12(contents: Pkcs12Contents): Promise<Buffer> {
  const { chain, privateKey, password } = contents;
  const [leaf] = chain;
  if (leaf === undefined || chain.length > maxChain)
    throw new EvercertError('InvalidArgument', `a PKCS#12 file holds 1 to ${maxChain} certificates`);
  // The standard's two key derivations encode other characters differently, and tools disagree on them.
  if (!/^[ -~]+$/.test(password))
    throw new EvercertError('InvalidArgument', 'a PKCS#12 password must be one or more printable ASCII characters');
  if (privateKey.type !== 'private' || keyAlgorithmOf(privateKey) === undefined)
    throw new EvercertError('InvalidArgument', 'a PKCS#12 file needs a private key of a listed algorithm');
  if (!pairMatches(leaf, privateKey)) throw new EvercertError('InvalidArgument', 'the private key is not that of the first certificate');
  const allRsa = chain.every((der) => spkiAlgorithm(certificateSpki(der))?.startsWith('rsa'));
  // Either library is large and seldom needed, so it is loaded only here.
  const pack = allRsa ? (await import('./pkcs12-forge.ts')).packWithForge : (await import('./pkcs12-pkijs.ts')).packWithPkijs;
  try {
    return await pack(contents);
  } catch (error) {
    throw toEvercertError(error, 'Internal', 'the PKCS#12 file cannot be made');
  }
}
