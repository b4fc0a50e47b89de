import { ByteReader } from './bytes.ts';
import { damaged } from './damage.ts';
import { parseAbout, parseManifest } from './json.ts';
import { type BackupItem, backupLimits } from './types.ts';

const kinds = { about: 0x41, entry: 0x45, key: 0x4b, manifest: 0x4d } as const;
const prefixBytes = 5;

/** One item as the payload has it. */
export function encodeFrame(item: BackupItem): Buffer {
  switch (item.type) {
    case 'about':
      return frame(kinds.about, [Buffer.from(JSON.stringify(item.about))]);
    case 'entry':
      return frame(kinds.entry, named(item.entry.key, item.entry.value));
    case 'key':
      return frame(kinds.key, named(item.key.id, Buffer.from(item.key.pem)));
    case 'manifest':
      return frame(kinds.manifest, [Buffer.from(JSON.stringify(item.manifest))]);
  }
}

/** The items of a payload, as they come; whether they belong together is another's to judge. DataLoss: the payload is damaged, or goes on behind its manifest. */
export async function* decodeFrames(payload: AsyncIterable<Uint8Array>): AsyncGenerator<BackupItem> {
  const reader = new ByteReader(payload);
  try {
    while (!(await reader.isAtEnd())) {
      const prefix = await reader.exactly(prefixBytes, 'an item');
      const length = prefix.readUInt32BE(1);
      if (length > backupLimits.frameBytes) throw damaged(`an item in it has ${length} bytes; expected ${backupLimits.frameBytes} at most`);
      yield decode(prefix[0] ?? 0, await reader.exactly(length, 'an item'));
    }
  } finally {
    await reader.close();
  }
}

function decode(kind: number, body: Buffer): BackupItem {
  switch (kind) {
    case kinds.about:
      return { type: 'about', about: parseAbout(body.toString()) };
    case kinds.entry: {
      const { name: key, rest: value } = split(body);
      return { type: 'entry', entry: { key, value } };
    }
    case kinds.key: {
      const { name: id, rest } = split(body);
      return { type: 'key', key: { id, pem: rest.toString() } };
    }
    case kinds.manifest:
      return { type: 'manifest', manifest: parseManifest(body.toString()) };
    default:
      throw damaged(`an item in it is of the unknown kind ${kind}: it is of a newer Evercert, or was changed`);
  }
}

function frame(kind: number, body: Buffer[]): Buffer {
  const prefix = Buffer.alloc(prefixBytes);
  prefix[0] = kind;
  prefix.writeUInt32BE(
    body.reduce((sum, part) => sum + part.length, 0),
    1,
  );
  return Buffer.concat([prefix, ...body]);
}

function named(name: string, rest: Uint8Array): Buffer[] {
  const bytes = Buffer.from(name);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return [length, bytes, Buffer.from(rest.buffer, rest.byteOffset, rest.byteLength)];
}

function split(body: Buffer): { name: string; rest: Buffer } {
  const length = body.length < 2 ? 0 : body.readUInt16BE();
  if (length === 0 || length > backupLimits.keyCharacters || 2 + length > body.length) throw damaged('an item in it has no name');
  return { name: body.toString('utf8', 2, 2 + length), rest: Buffer.from(body.subarray(2 + length)) };
}
