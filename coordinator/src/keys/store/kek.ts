import { createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import { readPrivateFile, refusedFile } from '../private-file.ts';

const kekBytes = 32;
const what = 'the key-encryption key';

/** A key-encryption key: what it wraps data keys with, and the name by which records tell under which one they are. */
export interface Kek {
  /** 16 hex digits that follow from the key and tell nothing of it. */
  readonly id: string;
  readonly wrapping: KeyObject;
  /** For messages. */
  readonly path: string;
}

/**
 * Reads a key-encryption key: 32 random bytes in base64 on one line, as `openssl rand -base64 32` prints them.
 * FailedPrecondition: the file is missing, others can read it, or it holds no such key. FileSystem.
 */
export async function readKek(path: string, credentialsDirectory?: string): Promise<Kek> {
  const text = await readPrivateFile(path, { what, maxBytes: 256, credentialsDirectory });
  if (text === undefined)
    throw refusedFile(
      path,
      what,
      'is missing; put it back, or make one for a new installation with `openssl rand -base64 32` and mode 0600',
    );
  const key = decodeBase64(text);
  text.fill(0);
  if (key?.length !== kekBytes)
    throw refusedFile(
      path,
      what,
      'is not understood; expected 32 random bytes in base64 on one line, as `openssl rand -base64 32` prints them',
    );
  return kekOf(key, path);
}

/** Takes the key over and wipes it. */
export function kekOf(key: Buffer, path: string): Kek {
  const wrapping = Buffer.from(hkdfSync('sha256', key, '', 'evercert/v1 key-encryption', kekBytes));
  const id = Buffer.from(hkdfSync('sha256', key, '', 'evercert/v1 key-encryption id', 8)).toString('hex');
  const kek = { id, wrapping: createSecretKey(wrapping), path };
  wrapping.fill(0);
  key.fill(0);
  return kek;
}

/** What a new key-encryption key's file holds. */
export function newKekText(): Buffer {
  return Buffer.from(`${randomBytes(kekBytes).toString('base64')}\n`);
}

/** The key-encryption keys that this process knows. */
export class KekRing {
  /** New keys are sealed under this one. */
  readonly current: Kek;
  readonly #byId: ReadonlyMap<string, Kek>;

  constructor(current: Kek, others: readonly Kek[] = []) {
    this.current = current;
    this.#byId = new Map([...others, current].map((kek) => [kek.id, kek]));
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** FailedPrecondition: it is not here. */
  find(id: string, keyId: string): Kek {
    const kek = this.#byId.get(id);
    if (kek !== undefined) return kek;
    const known = [...this.#byId.values()].map((each) => `${each.id} (${each.path})`).join(', ');
    throw new EvercertError(
      'FailedPrecondition',
      `the key ${keyId} is sealed under the key-encryption key ${id}, and known here are only ${known}; put the right file back as caKeys.store.kekFile, or name it in otherKekFiles`,
      { metadata: { id: keyId, kek: id } },
    );
  }
}

/** Base64 to bytes without a string in between: strings cannot be wiped. Undefined: it is not base64. */
function decodeBase64(text: Buffer): Buffer | undefined {
  const padding = text.at(-1) !== 0x3d ? 0 : text.at(-2) === 0x3d ? 2 : 1;
  if (text.length % 4 !== 0 || text.length === 0) return undefined;
  const bytes = Buffer.alloc((text.length / 4) * 3 - padding);
  let bits = 0;
  for (let at = 0; at < text.length; at += 1) {
    const value = at >= text.length - padding ? 0 : base64Value(text[at] ?? 0);
    if (value < 0) return undefined;
    bits = (bits << 6) | value;
    if (at % 4 !== 3) continue;
    const to = ((at - 3) / 4) * 3;
    for (let i = 0; i < 3; i += 1) if (to + i < bytes.length) bytes[to + i] = (bits >> (16 - 8 * i)) & 0xff;
    bits = 0;
  }
  return bytes;
}

function base64Value(code: number): number {
  if (code >= 0x41 && code <= 0x5a) return code - 0x41;
  if (code >= 0x61 && code <= 0x7a) return code - 0x61 + 26;
  if (code >= 0x30 && code <= 0x39) return code - 0x30 + 52;
  if (code === 0x2b) return 62;
  return code === 0x2f ? 63 : -1;
}
