import assert from 'node:assert/strict';
import { StatusBook } from '@evercert/local';
import { protoNode, startMs } from '../../support/local-samples.ts';

const expected = [
  { name: 'cp-1', role: 'control-plane' },
  { name: 'worker-1', role: 'worker' },
] as const;

describe('the status book of a local cluster', () => {
  it('lists nodes before the coordinator knows them', () => {
    const book = new StatusBook(expected);
    assert.deepEqual(
      book.nodes.map(({ name, phase }) => [name, phase]),
      [
        ['cp-1', 'Starting'],
        ['worker-1', 'Starting'],
      ],
    );
    assert.equal(book.totals().ready, 0);
  });

  it('tells each change of a phase once', () => {
    const book = new StatusBook(expected);
    const nodes = [protoNode('cp-1', 'Joining', [])];
    assert.deepEqual(book.update(nodes), [{ name: 'cp-1', phase: 'Joining', message: '' }]);
    assert.deepEqual(book.update(nodes), []);
  });

  it('counts every certificate but the first of its name as a renewal', () => {
    const book = new StatusBook(expected);
    book.update([protoNode('cp-1', 'Ready', [{ name: 'a', issuedTotal: 1 }, { name: 'b', issuedTotal: 4, failures: 2 }, { name: 'c' }])]);
    assert.deepEqual(book.totals(), { nodes: 2, ready: 1, certificates: 3, renewals: 3, failures: 2, lapses: 0, lapsesOfRemoved: 0 });
  });

  it('carries on a count that fell back, as after an agent that lost its state', () => {
    const book = new StatusBook(expected);
    for (const failures of [3, 1, 2]) book.update([protoNode('cp-1', 'Ready', [{ name: 'a', failures }])]);
    assert.equal(book.totals().failures, 5);
  });

  it('keeps what it knew of a node that an answer leaves out', () => {
    const book = new StatusBook(expected);
    book.update([protoNode('cp-1', 'Ready', [{ name: 'a', issuedTotal: 2 }])]);
    book.update([]);
    assert.equal(book.totals().renewals, 1);
  });

  it('tells apart what lapsed on a machine that was removed, and counts no renewal for the first certificate of the new one', () => {
    const book = new StatusBook(expected);
    const one = (phase: string, issuedTotal: number, lapses: number) =>
      book.update([protoNode('worker-1', phase, [{ name: 'a', issuedTotal, lapses }])]);
    one('Expired', 5, 1);
    book.machineRemoved('worker-1');
    // The old machine's last report, seen late.
    one('Replacing', 5, 2);
    book.update([protoNode('worker-1', 'Replacing', [])]);
    assert.deepEqual([book.totals().lapses, book.totals().lapsesOfRemoved], [2, 2]);
    one('Replacing', 1, 0);
    one('Ready', 1, 0);
    assert.equal(book.totals().renewals, 4);
    one('Expired', 3, 1);
    const { renewals, lapses, lapsesOfRemoved } = book.totals();
    assert.deepEqual({ renewals, lapses, lapsesOfRemoved }, { renewals: 6, lapses: 3, lapsesOfRemoved: 2 });
  });

  it('shows a life from the installation on, not from the backdated notBefore', () => {
    const book = new StatusBook(expected);
    const times = { notBefore: new Date(startMs - 60_000), notAfter: new Date(startMs + 20_000) };
    const installed = { ...times, lastRenewalAt: new Date(startMs) };
    const stale = { ...times, lastRenewalAt: new Date(startMs - 90_000) };
    book.update([protoNode('cp-1', 'Ready', [{ name: 'a', ...installed }, { name: 'b', ...stale }, { name: 'c' }])]);
    const starts = book.nodes[0]?.certificates.map((certificate) => certificate.startMs);
    assert.deepEqual(starts, [startMs, startMs - 60_000, undefined]);
  });
});
