import { createCipheriv, type KeyObject, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { nullValue, objectIdentifier, octetString, sequence, unsignedInteger } from './der.ts';
import { toPem } from './pem.ts';

const types = {
  pbes2: objectIdentifier('1.2.840.113549.1.5.13'),
  pbkdf2: objectIdentifier('1.2.840.113549.1.5.12'),
  hmacWithSha256: objectIdentifier('1.2.840.113549.2.9'),
  aes256Cbc: objectIdentifier('2.16.840.1.101.3.4.1.42'),
};
/** What OWASP asks for with SHA-256; node:crypto's own export makes do with 2,048. */
const iterations = 600_000;
const saltBytes = 16;

/** PKCS#8 EncryptedPrivateKeyInfo in PEM (RFC 5958, PBES2 of RFC 8018: PBKDF2 with SHA-256, AES-256-CBC), which `privateKeyFromPem` and OpenSSL read. For a passphrase that people remember. */
export async function encryptedPrivateKeyToPem(key: KeyObject, passphrase: string): Promise<string> {
  const salt = randomBytes(saltBytes);
  const iv = randomBytes(16);
  const secret = await promisify(pbkdf2)(passphrase, salt, iterations, 32, 'sha256');
  const plain = key.export({ type: 'pkcs8', format: 'der' });
  const cipher = createCipheriv('aes-256-cbc', secret, iv);
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  plain.fill(0);
  secret.fill(0);
  const count = Buffer.alloc(4);
  count.writeUInt32BE(iterations);
  const derivation = sequence(types.pbkdf2, sequence(octetString(salt), unsignedInteger(count), sequence(types.hmacWithSha256, nullValue)));
  const algorithm = sequence(types.pbes2, sequence(derivation, sequence(types.aes256Cbc, octetString(iv))));
  return toPem('ENCRYPTED PRIVATE KEY', sequence(algorithm, octetString(encrypted)));
}
