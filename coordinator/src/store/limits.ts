import { EvercertError } from '@evercert/shared/errors';
import type { Compare, Operation } from './types.ts';

/** Bounds that every driver enforces; they fit into etcd's own defaults (`--max-txn-ops` 128, `--max-request-bytes` 1.5 MiB). */
export const storeLimits = {
  keyBytes: 1024,
  /** All values of one transaction together. */
  transactionBytes: 1024 * 1024,
  compares: 128,
  operations: 128,
  leaseTtlSeconds: 365 * 24 * 3600,
} as const;

/** Refuses what no driver takes. InvalidArgument. */
export function checkTransaction(compares: readonly Compare[], operations: readonly Operation[]): void {
  if (compares.length > storeLimits.compares || operations.length > storeLimits.operations) {
    throw invalid(`a transaction has at most ${storeLimits.compares} comparisons and ${storeLimits.operations} operations; split it`);
  }
  for (const { key, modRevision } of compares) {
    checkKey(key);
    if (!Number.isSafeInteger(modRevision) || modRevision < 0) throw invalid(`modRevision is a whole number from 0, not ${modRevision}`);
  }
  let bytes = 0;
  for (const operation of operations) {
    if (operation.type === 'deletePrefix') checkPrefix(operation.prefix);
    else checkKey(operation.key);
    if (operation.type === 'put') bytes += operation.value.byteLength;
  }
  if (bytes > storeLimits.transactionBytes) {
    throw invalid(`the values of a transaction have ${bytes} bytes; at most ${storeLimits.transactionBytes} are allowed`);
  }
  if (operations.length > 1) checkOverlaps(operations);
}

function checkOverlaps(operations: readonly Operation[]): void {
  const puts = new Set<string>();
  for (const operation of operations) {
    if (operation.type !== 'put') continue;
    if (puts.has(operation.key)) throw writtenTwice(operation.key);
    puts.add(operation.key);
  }
  for (const operation of operations) {
    if (operation.type === 'delete' && puts.has(operation.key)) throw writtenTwice(operation.key);
    if (operation.type !== 'deletePrefix') continue;
    for (const key of puts) if (key.startsWith(operation.prefix)) throw writtenTwice(key);
  }
}

function checkKey(key: string): void {
  if (key === '') throw invalid('a key must not be empty');
  checkPrefix(key);
}

/** Keys are compared as UTF-8 bytes, so a string that has no UTF-8 form cannot be one. */
export function checkPrefix(prefix: string): void {
  if (prefix.length > storeLimits.keyBytes || Buffer.byteLength(prefix) > storeLimits.keyBytes) {
    throw invalid(`a key has more than ${storeLimits.keyBytes} bytes`);
  }
  if (!prefix.isWellFormed() || prefix.includes('\0')) throw invalid('a key must be well-formed Unicode without NUL');
}

/** InvalidArgument unless 0 < ttl <= a year. */
export function checkTtl(ttlSeconds: number): void {
  if (!(ttlSeconds > 0 && ttlSeconds <= storeLimits.leaseTtlSeconds)) {
    throw invalid(`a lease's time to live is above 0 and at most ${storeLimits.leaseTtlSeconds} seconds, not ${ttlSeconds}`);
  }
}

function writtenTwice(key: string): EvercertError {
  return new EvercertError('InvalidArgument', 'a transaction writes the same key twice; write it once', { metadata: { key } });
}

export function invalid(message: string): EvercertError {
  return new EvercertError('InvalidArgument', message);
}
