import { createPrivateKey, type KeyObject } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import { withSecret } from '../private-file.ts';

/** PKCS#8 EncryptedPrivateKeyInfo (RFC 5958): PBES2 with PBKDF2 and AES-256-CBC, which OpenSSL reads too. */
export function encryptKey(key: KeyObject, passphrase: KeyObject): string {
  return withSecret(passphrase, (bytes) => key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: bytes }));
}

/** DataLoss: the file holds no encrypted key. FailedPrecondition: the passphrase does not open it. */
export function decryptKey(pem: string, passphrase: KeyObject, path: string): KeyObject {
  const details = { metadata: { path } };
  if (!/^-----BEGIN ENCRYPTED PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END ENCRYPTED PRIVATE KEY-----\n$/.test(pem)) {
    throw new EvercertError(
      'DataLoss',
      `the key file ${path} is damaged: it holds no whole encrypted PKCS#8 key; restore it from a backup`,
      details,
    );
  }
  try {
    return withSecret(passphrase, (bytes) => createPrivateKey({ key: pem, format: 'pem', passphrase: bytes }));
  } catch (cause) {
    throw new EvercertError(
      'FailedPrecondition',
      `the key file ${path} cannot be opened: the passphrase is wrong, or the file is damaged; put back the passphrase file that belongs to it`,
      { ...details, cause },
    );
  }
}
