/** Opens what a server sends encrypted in a TLS 1.3 handshake (RFC 8446 sections 5.2, 7.1). */
import { type CipherGCMTypes, createDecipheriv, createHash, createHmac } from 'node:crypto';
import { number, Reader, vector } from './bytes.ts';
import type { Shares } from './hello.ts';

interface Suite {
  hash: 'sha256' | 'sha384';
  cipher: CipherGCMTypes | 'chacha20-poly1305';
  keyLength: number;
}

const suites: Readonly<Record<number, Suite>> = {
  4865: { hash: 'sha256', cipher: 'aes-128-gcm', keyLength: 16 },
  4866: { hash: 'sha384', cipher: 'aes-256-gcm', keyLength: 32 },
  4867: { hash: 'sha256', cipher: 'chacha20-poly1305', keyLength: 32 },
};
const tagLength = 16;

/** What a TLS 1.3 ServerHello decides. */
export interface ServerHello {
  suite: number;
  group: number;
  share: Buffer;
}

/** RangeError: not TLS 1.3, or it asks for another hello. */
export function readServerHello(body: Buffer): ServerHello {
  const reader = new Reader(body);
  reader.take(2 + 32);
  reader.vector(1);
  const suite = reader.number(2);
  reader.take(1);
  const extensions = new Reader(reader.vector(2));
  while (!extensions.done) {
    const type = extensions.number(2);
    const content = new Reader(extensions.vector(2));
    if (type !== 51) continue;
    const group = content.number(2);
    // A HelloRetryRequest names a group, and brings no share.
    if (content.done) throw new RangeError(`it asks for group ${group}`);
    return { suite, group, share: content.vector(2) };
  }
  throw new RangeError('it brings no key share');
}

export class HandshakeOpener {
  readonly #suite: Suite;
  readonly #key: Buffer;
  readonly #iv: Buffer;
  #sequence = 0;

  /** `transcript`: ClientHello and ServerHello, as messages. */
  constructor({ suite, group, share }: ServerHello, shares: Shares, transcript: Buffer) {
    const known = suites[suite];
    if (!known) throw new RangeError(`it chose cipher suite ${suite}, which was not offered`);
    this.#suite = known;
    const { hash, keyLength } = known;
    const digest = (data: Buffer): Buffer => createHash(hash).update(data).digest();
    const zeros = Buffer.alloc(digest(Buffer.alloc(0)).length);
    const early = extract(hash, zeros, zeros);
    const handshake = extract(
      hash,
      expandLabel(hash, early, 'derived', digest(Buffer.alloc(0)), zeros.length),
      shares.secret(group, share),
    );
    const server = expandLabel(hash, handshake, 's hs traffic', digest(transcript), zeros.length);
    this.#key = expandLabel(hash, server, 'key', Buffer.alloc(0), keyLength);
    this.#iv = expandLabel(hash, server, 'iv', Buffer.alloc(0), 12);
  }

  /** Type and content of one encrypted record. Throws where it was not made with our keys. */
  open(header: Buffer, sealed: Buffer): { type: number; content: Buffer } {
    const nonce = Buffer.from(this.#iv);
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ this.#sequence) >>> 0, 8);
    this.#sequence += 1;
    const { cipher } = this.#suite;
    const decipher = createDecipheriv(cipher as CipherGCMTypes, this.#key, nonce, { authTagLength: tagLength });
    decipher.setAAD(header, { plaintextLength: sealed.length - tagLength });
    decipher.setAuthTag(sealed.subarray(-tagLength));
    const inner = Buffer.concat([decipher.update(sealed.subarray(0, -tagLength)), decipher.final()]);
    const end = inner.findLastIndex((byte) => byte !== 0);
    return { type: inner[end] ?? 0, content: inner.subarray(0, Math.max(0, end)) };
  }
}

function extract(hash: string, salt: Buffer, secret: Buffer): Buffer {
  return createHmac(hash, salt).update(secret).digest();
}

function expandLabel(hash: string, secret: Buffer, label: string, context: Buffer, length: number): Buffer {
  const info = Buffer.concat([number(length, 2), vector(1, Buffer.from(`tls13 ${label}`)), vector(1, context)]);
  let block = Buffer.alloc(0);
  let all = Buffer.alloc(0);
  for (let i = 1; all.length < length; i += 1) {
    block = createHmac(hash, secret)
      .update(Buffer.concat([block, info, number(i, 1)]))
      .digest();
    all = Buffer.concat([all, block]);
  }
  return all.subarray(0, length);
}
