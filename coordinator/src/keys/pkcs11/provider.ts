import { createPublicKey, hash, type KeyObject, randomBytes, verify, webcrypto } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type KeyAlgorithm, type KnownKeyAlgorithm, keyAlgorithmOf, signerFor } from '@evercert/shared/x509';
import { checkKeyId, checkSharedKeyId, missingKey, takenId } from '../ids.ts';
import { OpenKeys } from '../open-keys.ts';
import type { KeyHolder, KeyProviderKind, Signer } from '../types.ts';
import type { TokenClient } from './client.ts';
import { ecdsaDer, sha256DigestInfo, withPrivateParts } from './key-parts.ts';

/** More than this is hashed on the thread pool: CRLs can be megabytes. */
const longBytes = 64 * 1024;

/** Keys on a PKCS#11 token: made there, and never outside of it. */
export class Pkcs11KeyProvider implements KeyHolder {
  readonly kind = 'pkcs11';
  readonly #token: TokenClient;
  readonly #logger: Logger;
  readonly #open = new OpenKeys<Signer>();

  constructor({ token, logger }: { token: TokenClient; logger: Logger }) {
    this.#token = token;
    this.#logger = logger;
  }

  async generate(id: string, algorithm: KeyAlgorithm): Promise<Signer> {
    checkKeyId(id);
    if (this.#open.has(id)) throw takenId(id);
    const make = async (): Promise<Signer> => this.#opened(id, await this.#token.call({ type: 'generate', key: id, algorithm }));
    const signer = await this.#open.remember(id, make());
    this.#logger.info('made a key on the token', { key: id, algorithm });
    return signer;
  }

  async import(id: string, privateKey: KeyObject): Promise<Signer> {
    checkKeyId(id);
    if (this.#open.has(id)) throw takenId(id);
    const { keyAlgorithm: algorithm } = signerFor(privateKey);
    const take = (): Promise<Signer> =>
      withPrivateParts(privateKey, async (parts) => this.#opened(id, await this.#token.call({ type: 'import', key: id, parts })));
    const signer = await this.#open.remember(id, take());
    this.#logger.info('took a key over onto the token', { key: id, algorithm });
    return signer;
  }

  signer(id: string): Promise<Signer> {
    return this.#open.get(id, async () => {
      checkKeyId(id);
      const spki = await this.#token.call({ type: 'find', key: id });
      if (spki === undefined) throw missingKey(id);
      return this.#opened(id, spki);
    });
  }

  async exportShared(id: string): Promise<string> {
    checkSharedKeyId(id);
    if (!(await this.has(id))) throw missingKey(id);
    throw stays(id);
  }

  async delete(id: string): Promise<void> {
    checkKeyId(id);
    await this.#open.forgetSettled(id);
    if (await this.#token.call({ type: 'delete', key: id })) this.#logger.info('deleted a key from the token', { key: id });
  }

  list(): Promise<string[]> {
    return this.#token.call({ type: 'list' });
  }

  async kindOf(id: string): Promise<KeyProviderKind> {
    // What signs here is on the token, also while that is away.
    if (!this.#open.has(id) && !(await this.has(id))) throw missingKey(id);
    return this.kind;
  }

  async has(id: string): Promise<boolean> {
    checkKeyId(id);
    return (await this.#token.call({ type: 'find', key: id })) !== undefined;
  }

  async takeOut(id: string): Promise<KeyObject> {
    throw stays(id);
  }

  forget(id: string): void {
    this.#open.forget(id);
  }

  async close(): Promise<void> {
    this.#open.clear();
    await this.#token.close();
  }

  /** DataLoss: private and public key on the token do not belong together. */
  async #opened(id: string, spki: Uint8Array): Promise<Signer> {
    const publicKey = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    const keyAlgorithm = keyAlgorithmOf(publicKey);
    if (keyAlgorithm === undefined) throw new EvercertError('DataLoss', `the token's key ${id} is of no known algorithm`);
    const signer = { keyAlgorithm, publicKey, sign: (data: Uint8Array) => this.#sign({ id, spki, keyAlgorithm }, data) };
    const probe = randomBytes(32);
    if (!verify(hashOf(keyAlgorithm), probe, publicKey, await signer.sign(probe)))
      throw new EvercertError('DataLoss', `the token's private key ${id} does not belong to the public key beside it`);
    return signer;
  }

  async #sign(
    { id, spki, keyAlgorithm }: { id: string; spki: Uint8Array; keyAlgorithm: KnownKeyAlgorithm },
    data: Uint8Array,
  ): Promise<Buffer> {
    const digest = await digestOf(data, hashOf(keyAlgorithm));
    const keyType = keyAlgorithm.startsWith('rsa-') ? 'rsa' : 'ec';
    const signed = keyType === 'rsa' ? sha256DigestInfo(digest) : digest;
    const signature = await this.#token.call({ type: 'sign', key: id, spki, keyType, data: signed });
    if (signature === undefined) {
      this.#open.forget(id);
      throw missingKey(id);
    }
    return keyType === 'rsa' ? Buffer.from(signature) : ecdsaDer(signature);
  }
}

function hashOf(keyAlgorithm: KnownKeyAlgorithm): 'sha256' | 'sha384' {
  return keyAlgorithm === 'ecdsa-p384' ? 'sha384' : 'sha256';
}

async function digestOf(data: Uint8Array, name: 'sha256' | 'sha384'): Promise<Buffer> {
  if (data.length < longBytes) return hash(name, data, 'buffer');
  return Buffer.from(await webcrypto.subtle.digest(name === 'sha384' ? 'SHA-384' : 'SHA-256', Buffer.from(data)));
}

function stays(id: string): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `the key ${id} is on a token, which gives no key away; rotate the CA to a key elsewhere instead`,
    {
      metadata: { id },
    },
  );
}
