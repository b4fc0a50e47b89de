import { RangeRequest, RangeRequest_SortOrder, type RangeResponse } from '@evercert/proto/etcd';
import type { KeyValue, RangeOptions, RangeResult } from '../types.ts';
import type { Codec } from './codec.ts';
import { CallFailure, messageTooLarge } from './errors.ts';

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
        return await this.#collect(options);
      } catch (error) {
        const forgotten = error instanceof CallFailure && error.error.code === 'FailedPrecondition';
        if (!forgotten || attempt >= tries) throw error;
      }
    }
  }

  /** At least one page, which may be empty; `more` of the last one tells whether the limit cut it. CallFailure with FailedPrecondition: the revision was compacted. */
  async *pages(options: RangeOptions, pageSize = snapshotEntries): AsyncGenerator<RangeResult, void, void> {
    let after = options.after;
    let left = options.limit || Number.POSITIVE_INFINITY;
    let size = pageSize;
    for (let revision = 0; ; ) {
      let answer: RangeResponse;
      try {
        answer = await this.#send(this.#request({ ...options, ...(after !== undefined && { after }) }, Math.min(left, size), revision));
      } catch (error) {
        if (!(error instanceof CallFailure && messageTooLarge.test(error.details)) || size === 1) throw error;
        size = Math.ceil(Math.min(left, size) / 4);
        continue;
      }
      revision ||= answer.header!.revision;
      const entries = answer.kvs.map((kv) => this.#codec.entry(kv));
      left -= entries.length;
      after = entries.at(-1)?.key;
      yield { entries, more: answer.more, revision };
      if (!answer.more || left <= 0) return;
    }
  }

  async #collect(options: RangeOptions): Promise<RangeResult> {
    const entries: KeyValue[] = [];
    let last: RangeResult | undefined;
    for await (last of this.pages(options, pageEntries)) for (const entry of last.entries) entries.push(entry);
    return { entries, more: last!.more, revision: last!.revision };
  }

  #request(options: RangeOptions, limit: number, revision: number): RangeRequest {
    const sortOrder = options.reverse ? RangeRequest_SortOrder.DESCEND : RangeRequest_SortOrder.NONE;
    return RangeRequest.create({ ...this.#codec.range(options), limit, revision, sortOrder });
  }
}
