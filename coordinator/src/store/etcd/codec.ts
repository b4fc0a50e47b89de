import {
  Compare_CompareResult,
  Compare_CompareTarget,
  Compare as EtcdCompare,
  type KeyValue as EtcdKeyValue,
  type Event,
  Event_EventType,
  type RequestOp,
  TxnRequest,
} from '@evercert/proto/etcd';
import { compareKeys } from '../prefix.ts';
import type { Compare, KeyValue, Operation, WatchEvent } from '../types.ts';

const nothing = Buffer.alloc(0);
/** As a range's beginning the least key, as its end: to the last one. */
const zero = Buffer.from([0]);

export interface KeyRange {
  key: Buffer;
  rangeEnd: Buffer;
}

/** Turns the store's words into etcd's and back. All keys lie below one prefix there, which nobody else sees. */
export class Codec {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Only this key. */
  single(key: string): KeyRange {
    return { key: this.#key(key), rangeEnd: nothing };
  }

  /** All keys with a prefix, after one or, in reverse, before it. */
  range({ prefix, after, reverse }: { prefix: string; after?: string | undefined; reverse?: boolean | undefined }): KeyRange {
    const whole = this.#key(prefix);
    let key = whole.length === 0 ? zero : whole;
    let rangeEnd = endOf(whole);
    if (after !== undefined && !reverse && compareKeys(after, prefix) >= 0) key = Buffer.concat([this.#key(after), zero]);
    if (after !== undefined && reverse) {
      const before = this.#key(after);
      if (rangeEnd === zero || Buffer.compare(before, rangeEnd) < 0) rangeEnd = before.length === 0 ? zero : before;
    }
    return { key, rangeEnd };
  }

  transaction(compares: readonly Compare[], operations: readonly Operation[]): TxnRequest {
    return TxnRequest.create({
      compare: compares.map(({ key, modRevision }) =>
        EtcdCompare.create({
          key: this.#key(key),
          target: Compare_CompareTarget.MOD,
          result: Compare_CompareResult.EQUAL,
          targetUnion: { $case: 'modRevision', value: modRevision },
        }),
      ),
      success: operations.map((operation) => this.#operation(operation)),
    });
  }

  entry(kv: EtcdKeyValue): KeyValue {
    return {
      key: kv.key.toString().slice(this.#prefix.length),
      value: kv.value,
      createRevision: kv.createRevision,
      modRevision: kv.modRevision,
      version: kv.version,
      ...(kv.lease !== '0' && { lease: leaseName(kv.lease) }),
    };
  }

  event({ type, kv }: Event): WatchEvent {
    const entry = this.entry(kv!);
    if (type === Event_EventType.DELETE) return { type: 'delete', key: entry.key, revision: entry.modRevision };
    return { type: 'put', key: entry.key, entry, revision: entry.modRevision };
  }

  #operation(operation: Operation): RequestOp {
    if (operation.type === 'put') {
      const { key, value, lease } = operation;
      const put = {
        key: this.#key(key),
        value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
        lease: lease === undefined ? '0' : leaseNumber(lease),
      };
      return { request: { $case: 'requestPut', value: put } };
    }
    const range = operation.type === 'delete' ? this.single(operation.key) : this.range({ prefix: operation.prefix });
    return { request: { $case: 'requestDeleteRange', value: range } };
  }

  #key(key: string): Buffer {
    return Buffer.from(this.#prefix + key);
  }
}

/** The least key above all that start with these bytes; no byte of UTF-8 is 0xff. */
function endOf(prefix: Buffer): Buffer {
  const last = prefix.at(-1);
  if (last === undefined) return zero;
  const end = Buffer.from(prefix);
  end[end.length - 1] = last + 1;
  return end;
}

/** Leases are called what etcdctl calls them: sixteen hexadecimal digits. */
export function leaseName(number: string): string {
  return BigInt.asUintN(64, BigInt(number)).toString(16).padStart(16, '0');
}

/** Of a name that is no lease's: the number of a lease that there never is. */
export function leaseNumber(name: string): string {
  return /^[0-9a-f]{16}$/.test(name) ? BigInt.asIntN(64, BigInt(`0x${name}`)).toString() : noLease;
}

/** Ours are positive. */
const noLease = '-1';

/** A random positive number. */
export function newLease(randomBytes: (size: number) => Buffer): string {
  const bytes = randomBytes(8);
  bytes[0] = bytes[0]! & 0x7f;
  // 0 would let etcd choose.
  return (bytes.readBigInt64BE() || 1n).toString();
}
