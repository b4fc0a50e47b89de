import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
  scrypt,
  timingSafeEqual,
} from 'node:crypto';
import { z } from 'zod';
import { EvercertError } from '../errors/index.ts';
import { ByteReader } from './bytes.ts';
import { damaged } from './damage.ts';
import { parseAbout, parsed } from './json.ts';
import { type BackupAbout, backupLimits } from './types.ts';

const magic = Buffer.from('evercert-backup/1\n');
/** Of the payload, in one chunk. */
export const chunkBytes = 64 * 1024;
const tagBytes = 16;
const saltBytes = 32;
const macBytes = 32;
const firstPassphrase = { least: 16, most: 1024 };
/** 2^17: 128 MiB for half a second; a header cannot ask for more than a GiB. */
const cost = { default: 17, least: 10, most: 20 };

const headerSchema = z.strictObject({
  scrypt: z.strictObject({
    logN: z.int().min(cost.least).max(cost.most),
    r: z.literal(8),
    p: z.literal(1),
    salt: z.string().regex(/^[A-Za-z0-9+/]{43}=$/),
  }),
  about: z.unknown(),
});
type Header = z.infer<typeof headerSchema>;

export interface SealOptions {
  about: BackupAbout;
  passphrase: string;
  randomBytes?: (size: number) => Buffer;
  /** scrypt's cost is 2 to this power. */
  logN?: number;
}

/** The archive of a payload, piece by piece. InvalidArgument: the passphrase is too short or too long. */
export async function* sealArchive(payload: AsyncIterable<Uint8Array>, options: SealOptions): AsyncGenerator<Buffer> {
  const { about, passphrase, randomBytes: random = randomBytes, logN = cost.default } = options;
  if (passphrase.length < firstPassphrase.least || passphrase.length > firstPassphrase.most)
    throw new EvercertError(
      'InvalidArgument',
      `the passphrase has ${passphrase.length} characters; expected ${firstPassphrase.least} to ${firstPassphrase.most}, such as seven random words`,
    );
  const header: Header = { scrypt: { logN, r: 8, p: 1, salt: random(saltBytes).toString('base64') }, about };
  const begin = headerBytes(header);
  const { key, macKey } = await deriveKeys(passphrase, header);
  yield Buffer.concat([begin, macOf(macKey, begin)]);
  const digest = createHash('sha256').update(begin).digest();
  const reader = new ByteReader(payload);
  try {
    for (let number = 0, last = false; !last; number++) {
      const plain = await reader.upTo(chunkBytes);
      last = await reader.isAtEnd();
      const cipher = createCipheriv('aes-256-gcm', key, nonceOf(number, last));
      cipher.setAAD(digest);
      yield Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    }
  } finally {
    await reader.close();
  }
}

/** An archive that a passphrase may open. */
export interface Opened {
  about: BackupAbout;
  /** Of the header, as it stands in the archive. */
  headerSha256: Buffer;
  key: KeyObject;
}

/** Reads the header and makes the key of the passphrase. FailedPrecondition: the passphrase does not fit. DataLoss: it is no backup, or its header is damaged. */
export async function openHeader(archive: AsyncIterable<Uint8Array>, passphrase: string): Promise<Opened> {
  const reader = new ByteReader(archive);
  try {
    const { bytes, mac, header, about } = await readHeader(reader);
    const { key, macKey } = await deriveKeys(passphrase, header);
    if (!timingSafeEqual(mac, macOf(macKey, bytes)))
      throw new EvercertError(
        'FailedPrecondition',
        'the backup is refused: the passphrase is not the one that it was made with, or its header was changed',
      );
    return { about, headerSha256: createHash('sha256').update(bytes).digest(), key };
  } finally {
    await reader.close();
  }
}

/** What an archive says it is of, which nobody has verified. DataLoss. */
export async function peekAbout(archive: AsyncIterable<Uint8Array>): Promise<BackupAbout> {
  const reader = new ByteReader(archive);
  try {
    return (await readHeader(reader)).about;
  } finally {
    await reader.close();
  }
}

/** The payload, chunk by chunk, each authenticated before it is handed out. DataLoss. */
export async function* unsealArchive(archive: AsyncIterable<Uint8Array>, { headerSha256, key }: Opened): AsyncGenerator<Buffer> {
  const reader = new ByteReader(archive);
  try {
    const { bytes } = await readHeader(reader);
    if (!createHash('sha256').update(bytes).digest().equals(headerSha256)) throw damaged('it was changed while it was read');
    for (let number = 0, last = false; !last; number++) {
      const sealed = await reader.upTo(chunkBytes + tagBytes);
      last = await reader.isAtEnd();
      yield openChunk(sealed, { number, last, headerSha256, key });
    }
  } finally {
    await reader.close();
  }
}

function openChunk(
  sealed: Buffer,
  { number, last, headerSha256, key }: Pick<Opened, 'headerSha256' | 'key'> & { number: number; last: boolean },
): Buffer {
  if (sealed.length < tagBytes) throw damaged('it ends within a chunk: it was cut off');
  const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(number, last), { authTagLength: tagBytes });
  decipher.setAAD(headerSha256);
  decipher.setAuthTag(sealed.subarray(-tagBytes));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(0, -tagBytes)), decipher.final()]);
  } catch (cause) {
    throw damaged(`chunk ${number + 1} is not as it was written: the file was changed, cut off, or something was appended`, cause);
  }
}

/** A number that never comes twice under one key, and whether the chunk is the last: so none can be left out, moved or appended. */
function nonceOf(number: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(number, 5, 6);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

function headerBytes(header: Header): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  return Buffer.concat([magic, length, json]);
}

async function readHeader(reader: ByteReader): Promise<{ bytes: Buffer; mac: Buffer; header: Header; about: BackupAbout }> {
  const begin = await reader.upTo(magic.length);
  if (!begin.equals(magic)) throw damaged('it is no backup of Evercert, or of a newer one: its first line is not "evercert-backup/1"');
  const length = await reader.exactly(4, 'its header');
  const size = length.readUInt32BE();
  if (size > backupLimits.headerBytes) throw damaged(`its header has ${size} bytes; expected ${backupLimits.headerBytes} at most`);
  const json = await reader.exactly(size, 'its header');
  const mac = await reader.exactly(macBytes, 'its header');
  const header = parsed(headerSchema, json.toString(), 'its header cannot be read');
  return { bytes: Buffer.concat([begin, length, json]), mac, header, about: parseAbout(JSON.stringify(header.about ?? null)) };
}

function macOf(key: KeyObject, header: Buffer): Buffer {
  return createHmac('sha256', key).update(header).digest();
}

/** One key for the chunks, another for the header: so a wrong passphrase is told from damage. */
async function deriveKeys(passphrase: string, { scrypt: { logN, r, p, salt } }: Header): Promise<{ key: KeyObject; macKey: KeyObject }> {
  const options = { N: 2 ** logN, r, p, maxmem: 256 * 2 ** logN * r };
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    scrypt(passphrase, Buffer.from(salt, 'base64'), 64, options, (error, derived) => (error ? reject(error) : resolve(derived)));
  });
  const keys = { key: createSecretKey(bytes.subarray(0, 32)), macKey: createSecretKey(bytes.subarray(32)) };
  bytes.fill(0);
  return keys;
}
