import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import { type KnownKeyAlgorithm, keyAlgorithmOf, spkiDer } from '@evercert/shared/x509';
import { z } from 'zod';
import type { Kek, KekRing } from './kek.ts';

const base64 = z
  .string()
  .max(16_384)
  .regex(/^[A-Za-z0-9+/]+={0,2}$/)
  // One text for each value: the bits that padding leaves over are none that may change unseen.
  .refine((text) => Buffer.from(text, 'base64').toString('base64') === text);

/**
 * A private key as it lies in the store: PKCS#8, AES-256-GCM under a data key of its own, which is AES-256-GCM under the key-encryption key. Id, algorithm and public key are
 * associated data of both: nothing of a record can be changed, and none can take another's place.
 */
const recordSchema = z.strictObject({
  version: z.literal(1),
  id: z.string().min(1).max(1200),
  keyAlgorithm: z.string().max(64),
  /** SubjectPublicKeyInfo. */
  publicKey: base64,
  /** Id of the key-encryption key. */
  kek: z.string().regex(/^[0-9a-f]{16}$/),
  /** Nonce, ciphertext and tag of the data key. */
  dataKey: base64,
  /** Nonce, ciphertext and tag of the private key. */
  privateKey: base64,
});

export type SealedKeyRecord = z.infer<typeof recordSchema>;

const cipherName = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;
const dataKeyBytes = 32;

export function encodeSealedKey(record: SealedKeyRecord): Buffer {
  return Buffer.from(JSON.stringify(record));
}

/** DataLoss: it is no sealed key, or that of another id. */
export function decodeSealedKey(id: string, value: Uint8Array): SealedKeyRecord {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(value).toString('utf8'));
  } catch {
    throw damaged(id);
  }
  const { success, data } = recordSchema.safeParse(parsed);
  if (!success || data.id !== id) throw damaged(id);
  return data;
}

/** InvalidArgument: not a private key of a known algorithm. */
export function sealKey(id: string, privateKey: KeyObject, keyAlgorithm: KnownKeyAlgorithm, kek: Kek): SealedKeyRecord {
  const facts = { id, keyAlgorithm, publicKey: spkiDer(createPublicKey(privateKey)).toString('base64') };
  const dataKey = randomBytes(dataKeyBytes);
  const plain = privateKey.export({ type: 'pkcs8', format: 'der' });
  try {
    const secret = createSecretKey(dataKey);
    return {
      version: 1,
      ...facts,
      kek: kek.id,
      dataKey: encrypt(kek.wrapping, dataKey, associated('data key', facts)),
      privateKey: encrypt(secret, plain, associated('private key', facts)),
    };
  } finally {
    plain.fill(0);
    dataKey.fill(0);
  }
}

/** FailedPrecondition: the key-encryption key is not here. DataLoss: the record was changed, or is damaged. */
export function openSealedKey(record: SealedKeyRecord, keks: KekRing): KeyObject {
  const secret = openDataKey(record, keks.find(record.kek, record.id));
  const plain = decrypt(secret, record.privateKey, associated('private key', record));
  if (plain === undefined) throw damaged(record.id);
  try {
    const privateKey = createPrivateKey({ key: plain, format: 'der', type: 'pkcs8' });
    // Held by the tag already; this holds against a fault of our own as well.
    const same = spkiDer(createPublicKey(privateKey)).toString('base64') === record.publicKey;
    if (!same || keyAlgorithmOf(privateKey) !== record.keyAlgorithm) throw damaged(record.id);
    return privateKey;
  } catch {
    throw damaged(record.id);
  } finally {
    plain.fill(0);
  }
}

/** The same record with its data key under another key-encryption key; the private key stays sealed throughout. Errors: as openSealedKey. */
export function rewrap(record: SealedKeyRecord, keks: KekRing, to: Kek): SealedKeyRecord {
  const secret = openDataKey(record, keks.find(record.kek, record.id));
  const dataKey = secret.export();
  try {
    return { ...record, kek: to.id, dataKey: encrypt(to.wrapping, dataKey, associated('data key', record)) };
  } finally {
    dataKey.fill(0);
  }
}

function openDataKey(record: SealedKeyRecord, kek: Kek): KeyObject {
  const dataKey = decrypt(kek.wrapping, record.dataKey, associated('data key', record));
  if (dataKey?.length !== dataKeyBytes) throw damaged(record.id);
  const secret = createSecretKey(dataKey);
  dataKey.fill(0);
  return secret;
}

type Facts = Pick<SealedKeyRecord, 'id' | 'keyAlgorithm' | 'publicKey'>;

/** None of the parts can hold a NUL. */
function associated(purpose: string, { id, keyAlgorithm, publicKey }: Facts): Buffer {
  return Buffer.from(['evercert/v1 sealed key', purpose, id, keyAlgorithm, publicKey].join('\0'));
}

function encrypt(key: KeyObject, plain: Uint8Array, aad: Buffer): string {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(cipherName, key, nonce).setAAD(aad);
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

function decrypt(key: KeyObject, text: string, aad: Buffer): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length < nonceBytes + tagBytes) return undefined;
  const tag = bytes.subarray(bytes.length - tagBytes);
  const decipher = createDecipheriv(cipherName, key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
    .setAAD(aad)
    .setAuthTag(tag);
  const plain = decipher.update(bytes.subarray(nonceBytes, bytes.length - tagBytes));
  try {
    decipher.final();
    return plain;
  } catch {
    // The tag does not fit: what came out is nobody's.
    plain.fill(0);
    return undefined;
  }
}

function damaged(id: string): EvercertError {
  return new EvercertError(
    'DataLoss',
    `the sealed key ${id} in the store is damaged, or was put in another's place: it is not opened; restore it from a backup`,
    { metadata: { id } },
  );
}
