/** A ClientHello (RFC 5246 section 7.4.1.2, RFC 8446 section 4.1.2) that offers one version of TLS alone. */
import { createECDH, createPublicKey, diffieHellman, type ECDH, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { number, vector } from './bytes.ts';

export type TlsVersion = '1.2' | '1.3';

/** Groups by their number, each with a share of ours; three, so that no server asks for another. */
const x25519 = 0x001d;
const curves: Readonly<Record<number, string>> = { 23: 'prime256v1', 24: 'secp384r1' };

const suites: Readonly<Record<TlsVersion, number[]>> = {
  '1.2': [0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc00a, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035],
  '1.3': [0x1301, 0x1302, 0x1303],
};
const signatures = [0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601];

/** The client's side of the key exchange. */
export class Shares {
  readonly #x25519 = generateKeyPairSync('x25519');
  readonly #curves = new Map<number, ECDH>(Object.entries(curves).map(([group, curve]) => [Number(group), createECDH(curve)]));

  extension(): Buffer {
    const raw = Buffer.from(this.#x25519.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
    const shares = [vector(2, raw)].map((key) => Buffer.concat([number(x25519, 2), key]));
    for (const [group, ecdh] of this.#curves) shares.push(Buffer.concat([number(group, 2), vector(2, ecdh.generateKeys())]));
    return vector(2, ...shares);
  }

  /** The secret that both sides have now. RangeError: a group that was not offered. */
  secret(group: number, theirs: Buffer): Buffer {
    const ecdh = this.#curves.get(group);
    if (ecdh) return ecdh.computeSecret(theirs);
    if (group !== x25519) throw new RangeError(`it chose group ${group}, which was not offered`);
    return diffieHellman({ privateKey: this.#x25519.privateKey, publicKey: rawX25519(theirs) });
  }
}

function rawX25519(raw: Buffer): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: raw.toString('base64url') }, format: 'jwk' });
}

/** The handshake message, without a record around it. */
export function clientHello(version: TlsVersion, shares: Shares, serverName?: string): Buffer {
  const numbers = (list: readonly number[]): Buffer => vector(2, ...list.map((each) => number(each, 2)));
  const extension = (type: number, content: Buffer): Buffer => Buffer.concat([number(type, 2), vector(2, content)]);
  const extensions = [
    ...(serverName === undefined ? [] : [extension(0, vector(2, number(0, 1), vector(2, Buffer.from(serverName, 'ascii'))))]),
    extension(10, numbers([x25519, ...Object.keys(curves).map(Number)])),
    extension(11, vector(1, number(0, 1))),
    extension(13, numbers(signatures)),
    ...(version === '1.3' ? [extension(43, vector(1, number(0x0304, 2))), extension(51, shares.extension())] : []),
  ];
  const body = Buffer.concat([
    number(0x0303, 2),
    randomBytes(32),
    vector(1),
    numbers(suites[version]),
    vector(1, number(0, 1)),
    vector(2, ...extensions),
  ]);
  return Buffer.concat([number(1, 1), vector(3, body)]);
}

export function record(type: number, content: Buffer): Buffer {
  return Buffer.concat([number(type, 1), number(0x0301, 2), vector(2, content)]);
}
