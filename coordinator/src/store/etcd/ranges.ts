import { RangeRequest, type RangeResponse } from '@evercert/proto/etcd';
import type { KeyValue, RangeOptions, RangeResult } from '../types.ts';
import type { Codec, KeyRange } from './codec.ts';
import { CallFailure, messageTooLarge } from './errors.ts';
import { TailFinder } from './tail.ts';

/** Entries that are asked for at once; less where they turn out to be too large for one answer. */
const pageEntries = 1000;
/** Of a snapshot, whose pages are handed out. */
const snapshotEntries = 256;
/** Of a read that takes longer than what etcd remembers, before it is given up. */
const tries = 3;

/** Sends one range request. CallFailure. */
export type SendRange = (request: RangeRequest) => Promise<RangeResponse>;

/** Reads ranges of any size page by page, all pages of one revision. */
export class Ranges {
  readonly #codec: Codec;
  readonly #send: SendRange;
  readonly #tails = new TailFinder((range, revision) => this.#count(range, revision));

  constructor(codec: Codec, send: SendRange) {
    this.#codec = codec;
    this.#send = send;
  }

  async get(key: string): Promise<KeyValue | undefined> {
    const { kvs } = await this.#send(RangeRequest.create(this.#codec.single(key)));
    return kvs[0] && this.#codec.entry(kvs[0]);
  }

  async range(options: RangeOptions): Promise<RangeResult> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await (options.reverse ? this.#backward(options) : this.#collect(this.#codec.range(options), options.limit ?? 0));
      } catch (error) {
        const forgotten = error instanceof CallFailure && error.error.code === 'FailedPrecondition';
        if (!forgotten || attempt >= tries) throw error;
      }
    }
  }

  /** At least one page, which may be empty. CallFailure with FailedPrecondition: the revision was compacted. */
  snapshot(prefix: string): AsyncGenerator<RangeResult, void, void> {
    return this.#pages(this.#codec.range({ prefix }), { limit: 0, pageSize: snapshotEntries, revision: 0 });
  }

  async *#pages(
    { key, rangeEnd }: KeyRange,
    at: { limit: number; pageSize: number; revision: number },
  ): AsyncGenerator<RangeResult, void, void> {
    let { revision, pageSize } = at;
    let left = at.limit || Number.POSITIVE_INFINITY;
    for (let from = key; ; ) {
      let answer: RangeResponse;
      try {
        answer = await this.#send(RangeRequest.create({ key: from, rangeEnd, limit: Math.min(left, pageSize), revision }));
      } catch (error) {
        if (!(error instanceof CallFailure && messageTooLarge.test(error.details)) || pageSize === 1) throw error;
        pageSize = Math.ceil(Math.min(left, pageSize) / 4);
        continue;
      }
      revision ||= answer.header!.revision;
      left -= answer.kvs.length;
      yield { entries: answer.kvs.map((kv) => this.#codec.entry(kv)), more: answer.more, revision };
      const last = answer.kvs.at(-1);
      if (!answer.more || left <= 0 || last === undefined) return;
      from = Buffer.concat([last.key, Buffer.from([0])]);
    }
  }

  async #collect(range: KeyRange, limit: number, revision = 0): Promise<RangeResult> {
    const entries: KeyValue[] = [];
    let last: RangeResult | undefined;
    for await (last of this.#pages(range, { limit, pageSize: pageEntries, revision }))
      for (const entry of last.entries) entries.push(entry);
    return { entries, more: last!.more, revision: last!.revision };
  }

  /** etcd itself sorts downwards by reading everything that is in the range, whatever the limit: so the end of the range is looked for first, and read upwards. */
  async #backward(options: RangeOptions): Promise<RangeResult> {
    const whole = this.#codec.range(options);
    const limit = options.limit ?? 0;
    if (limit === 0) {
      const { entries, revision } = await this.#collect(whole, 0);
      return { entries: entries.reverse(), more: false, revision };
    }
    const { prefix } = options;
    // Of a prefix and the least key above all that start with it, all bytes but the last are the same.
    const common = Math.max(0, this.#codec.single(prefix).key.length - 1);
    const { key, total, revision } = await this.#tails.find(whole, { wanted: limit, prefix, common });
    const { entries } = await this.#collect({ ...whole, key }, 0, revision);
    return { entries: entries.reverse().slice(0, limit), more: total > limit, revision };
  }

  async #count({ key, rangeEnd }: KeyRange, revision: number): Promise<{ count: number; first: Buffer | undefined; revision: number }> {
    const { count, kvs, header } = await this.#send(RangeRequest.create({ key, rangeEnd, limit: 1, keysOnly: true, revision }));
    return { count, first: kvs[0]?.key, revision: revision || header!.revision };
  }
}
