/** The proof that a node makes with the key of a certificate that it wants to have taken over; the same bytes on both sides. */
import { createHash, type KeyObject, sign, verify } from 'node:crypto';
import { promisify } from 'node:util';

export interface AdoptionStatement {
  /** DER of the leaf. */
  certificate: Uint8Array;
  /** Of the identity that the call is made with: a proof that somebody else made is good for nothing. */
  identitySerial: string;
}

/** Keeps the signature from being good for anything else that the key may sign. */
const context = Buffer.from('evercert-adoption-v1\0');

const signAsync = promisify(sign);
const verifyAsync = promisify(verify);

function bytesOf({ certificate, identitySerial }: AdoptionStatement): Buffer {
  const digests = [certificate, Buffer.from(identitySerial)].map((part) => createHash('sha256').update(part).digest());
  return Buffer.concat([context, ...digests]);
}

/** ECDSA (DER) or RSA PKCS#1 v1.5, over SHA-256. */
export function signAdoption(privateKey: KeyObject, statement: AdoptionStatement): Promise<Buffer> {
  return signAsync('sha256', bytesOf(statement), privateKey);
}

/** False for anything that is not this key's signature over this statement, malformed ones included. */
export async function verifyAdoption(publicKey: KeyObject, statement: AdoptionStatement, signature: Uint8Array): Promise<boolean> {
  try {
    return await verifyAsync('sha256', bytesOf(statement), publicKey, signature);
  } catch {
    // Bytes that are no signature at all: as good as a wrong one.
    return false;
  }
}
