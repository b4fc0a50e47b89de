/** Constants and structures of PKCS#11 (v2.40) as 64-bit Unix lays them out: CK_ULONG and pointers are eight bytes, nothing is packed. */
export const word = 8;

export const attribute = {
  class: 0x0,
  token: 0x1,
  private: 0x2,
  label: 0x3,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  encrypt: 0x104,
  decrypt: 0x105,
  wrap: 0x106,
  unwrap: 0x107,
  sign: 0x108,
  verify: 0x10a,
  modulus: 0x120,
  modulusBits: 0x121,
  publicExponent: 0x122,
  privateExponent: 0x123,
  prime1: 0x124,
  prime2: 0x125,
  exponent1: 0x126,
  exponent2: 0x127,
  coefficient: 0x128,
  extractable: 0x162,
  ecParams: 0x180,
  ecPoint: 0x181,
  value: 0x11,
} as const;

export const objectClass = { publicKey: 2, privateKey: 3 } as const;
export const keyType = { rsa: 0, ec: 3 } as const;
export const mechanism = { rsaKeyPairGen: 0x0, rsaPkcs: 0x1, ecKeyPairGen: 0x1040, ecdsa: 0x1041 } as const;

export type AttributeValue = Uint8Array | boolean | number | string;
export type Attributes = Partial<Record<keyof typeof attribute, AttributeValue>>;

/** A template: an array of CK_ATTRIBUTE, with the values that it points to. They must be kept for as long as the library may read them. */
export interface Template {
  bytes: Buffer;
  count: number;
  values: readonly Uint8Array[];
}

/** @param address where a buffer lies in memory. */
export function template(attributes: Attributes, address: (bytes: Uint8Array) => bigint): Template {
  const entries = Object.entries(attributes) as [keyof typeof attribute, AttributeValue][];
  const values = entries.map(([, value]) => bytesOf(value));
  const bytes = Buffer.alloc(entries.length * 3 * word);
  for (const [i, [name]] of entries.entries()) {
    const value = values[i] as Uint8Array;
    bytes.writeBigUInt64LE(BigInt(attribute[name]), i * 3 * word);
    bytes.writeBigUInt64LE(value.length === 0 ? 0n : address(value), i * 3 * word + word);
    bytes.writeBigUInt64LE(BigInt(value.length), i * 3 * word + 2 * word);
  }
  return { bytes, count: entries.length, values };
}

/** What a library answers for an attribute that it does not have, or does not tell. */
export const unavailable = 0xffff_ffff_ffff_ffffn;

/** Length of a template's attribute, as the library has written it there. */
export function lengthAt(bytes: Buffer, index: number): bigint {
  return bytes.readBigUInt64LE(index * 3 * word + 2 * word);
}

/** A CK_ULONG. */
export function ulong(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(word);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** A CK_MECHANISM without a parameter. */
export function mechanismOf(type: number): Buffer {
  return Buffer.concat([ulong(type), Buffer.alloc(2 * word)]);
}

function bytesOf(value: AttributeValue): Uint8Array {
  if (typeof value === 'boolean') return Buffer.of(value ? 1 : 0);
  if (typeof value === 'number') return ulong(value);
  return typeof value === 'string' ? Buffer.from(value) : value;
}
