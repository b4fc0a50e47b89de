import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { EvercertError } from '@evercert/shared/errors';
import type { KeyValue } from '../store/index.ts';

/** What is told of a block before its lines. */
export interface BlockHead {
  log: string;
  number: number;
  /** Sequence number of its first entry; of the next one where it holds a checkpoint alone. */
  first: number;
  entries: number;
  /** The chain's value before it. */
  previous: string;
  sealedAtMs: number;
  /** Times of its events; 0 where it has none. */
  minMs: number;
  maxMs: number;
}

export interface Block extends BlockHead {
  /** Lines of the log's form, each with its line feed. */
  lines: string;
}

const version = 1;
const compress = promisify(gzip);
const decompress = promisify(gunzip);
/** No block was ever larger; guards against a value that unpacks without an end. */
const maxUnpacked = 8 * 1024 * 1024;

/** A line of JSON, then the lines packed: a log has much that repeats, and etcd little room. */
export async function encodeBlock({ lines, ...head }: Block): Promise<Buffer> {
  return Buffer.concat([Buffer.from(`${JSON.stringify({ v: version, ...head })}\n`), await compress(lines, { level: 3 })]);
}

/** DataLoss: it is damaged, or of a newer version. */
export function decodeBlockHead({ key, value }: Pick<KeyValue, 'key' | 'value'>): BlockHead {
  const end = value.indexOf(0x0a);
  try {
    const { v, ...head } = JSON.parse(asBuffer(value).toString('utf8', 0, end)) as { v: number } & BlockHead;
    if (v === version) return head;
  } catch (error) {
    throw damaged(key, error);
  }
  throw damaged(key, new Error('its version is not known'));
}

/** The lines of a block. DataLoss. */
export async function decodeLines({ key, value }: Pick<KeyValue, 'key' | 'value'>): Promise<string> {
  try {
    const packed = asBuffer(value).subarray(value.indexOf(0x0a) + 1);
    return (await decompress(packed, { maxOutputLength: maxUnpacked })).toString();
  } catch (error) {
    throw damaged(key, error);
  }
}

function asBuffer(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

function damaged(key: string, cause: unknown): EvercertError {
  return new EvercertError('DataLoss', `the store's block ${key} of the audit log is damaged: restore it from a backup`, { cause });
}
