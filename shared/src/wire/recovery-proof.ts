/** The proof that a node makes with the key of its expired identity; the same bytes on both sides. */
import { createHash, type KeyObject, sign, verify } from 'node:crypto';
import { promisify } from 'node:util';

/** What is signed for a recovery. */
export interface RecoveryStatement {
  /** As BeginRecovery gave it. */
  nonce: Uint8Array;
  /** DER of the expired identity. */
  certificate: Uint8Array;
  /** DER of the PKCS#10 request for the new key. */
  csr: Uint8Array;
}

/** Keeps the signature from being good for anything else that the key may sign. */
const context = Buffer.from('evercert-recovery-v1\0');

const signAsync = promisify(sign);
const verifyAsync = promisify(verify);

function bytesOf({ nonce, certificate, csr }: RecoveryStatement): Buffer {
  const digests = [nonce, certificate, csr].map((part) => createHash('sha256').update(part).digest());
  return Buffer.concat([context, ...digests]);
}

/** ECDSA (DER) or RSA PKCS#1 v1.5, over SHA-256. */
export function signRecovery(privateKey: KeyObject, statement: RecoveryStatement): Promise<Buffer> {
  return signAsync('sha256', bytesOf(statement), privateKey);
}

/** False for anything that is not this key's signature over this statement, malformed ones included. */
export async function verifyRecovery(publicKey: KeyObject, statement: RecoveryStatement, signature: Uint8Array): Promise<boolean> {
  try {
    return await verifyAsync('sha256', bytesOf(statement), publicKey, signature);
  } catch {
    // Bytes that are no signature at all, or a key that cannot sign: as good as a wrong one.
    return false;
  }
}
