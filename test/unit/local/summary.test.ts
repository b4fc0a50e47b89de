import assert from 'node:assert/strict';
import { exitCodeOf, type SummaryInput, summarize, summaryText } from '@evercert/local';
import { kubernetesStatistics as kubernetes, summaryInput } from '../../support/local-samples.ts';

describe('the summary of a local run', () => {
  it('holds the counts under their agreed names, and ends with 0 when all went well', () => {
    const summary = summarize(summaryInput());
    const { nodes, ready, certificates, renewals, renewalFailures, lapses, etcdWrites, etcdWritesFailed } = summary;
    assert.deepEqual(
      { nodes, ready, certificates, renewals, renewalFailures, lapses, etcdWrites, etcdWritesFailed },
      { nodes: 5, ready: 5, certificates: 43, renewals: 86, renewalFailures: 0, lapses: 0, etcdWrites: 1200, etcdWritesFailed: 0 },
    );
    assert.deepEqual(summary.problems, []);
    assert.equal(exitCodeOf(summary), 0);
    assert.doesNotThrow(() => JSON.parse(JSON.stringify(summary)));
  });

  it('forgives renewals that failed and were made good in time, and processes that were started again', () => {
    const input = summaryInput({ restarts: 3 });
    const summary = summarize({ ...input, totals: { ...input.totals, failures: 4 } });
    assert.equal(summary.renewalFailures, 4);
    assert.equal(exitCodeOf(summary), 0);
  });

  it('is fine without etcd', () => {
    const summary = summarize(summaryInput({ writer: undefined, etcdMembers: 0 }));
    assert.equal(summary.etcdWrites, 0);
    assert.equal(exitCodeOf(summary), 0);
    assert.match(summaryText(summary), /no etcd/);
  });

  const { totals, writer, observed } = summaryInput();
  assert.ok(writer);
  const cases: [string, Partial<SummaryInput>, RegExp][] = [
    ['a node is not Ready', { totals: { ...totals, ready: 4 } }, /^1 of 5 nodes are not Ready/],
    ['an agent reports a lapse', { totals: { ...totals, lapses: 1 } }, /^1 certificates ran out/],
    [
      'an ended certificate was seen on a node, whatever the agents say',
      { observed: { ...observed, lapses: 2 } },
      /^2 certificates ran out/,
    ],
    ['a key came back', { observed: { ...observed, reusedKeys: 1 } }, /^1 keys came back/],
    ['etcd did not come up', { etcdFailed: true, writer: undefined }, /etcd cluster did not come up/],
    [
      'a write failed',
      { writer: { ...writer, writesFailed: 1, lastError: 'Unavailable: gone' } },
      /^1 of 1200 etcd writes failed; the last: Unavailable: gone/,
    ],
    ['the API servers did not come up', { kubernetesFailed: true }, /^the API servers did not come up/],
    [
      'a request failed at every API server',
      { kubeApiServers: 3, kubernetes: { ...kubernetes, failed: 1, lastError: 'HTTP 403' } },
      /^1 of 400 requests to the API servers failed; the last: HTTP 403/,
    ],
    ['another value was read than was written', { writer: { ...writer, readsFailed: 1 } }, /^1 of 60 reads from etcd failed/],
  ];
  for (const [what, changes, expected] of cases) {
    it(`ends with 1 and says why when ${what}`, () => {
      const summary = summarize(summaryInput(changes));
      assert.equal(exitCodeOf(summary), 1);
      assert.equal(summary.problems.length, 1);
      assert.match(summary.problems[0] ?? '', expected);
    });
  }

  it('tells of API servers, each with what failed there, and forgives what went well at another', () => {
    const summary = summarize(summaryInput({ kubeApiServers: 3, kubernetes }));
    assert.deepEqual([summary.kubeRequests, summary.kubeRequestsRetried, summary.kubeRequestsFailed], [400, 2, 0]);
    assert.deepEqual(summary.kubeEndpoints, kubernetes.endpoints);
    assert.equal(exitCodeOf(summary), 0);
    assert.match(summaryText(summary), /400 requests to 3 API servers, 2 retried, 0 failed .* cp-1 2 of 134, 3 certificates/);
  });

  it('counts a lapse once that both the agent reports and the observer saw', () => {
    const input = summaryInput({ totals: { ...totals, lapses: 2 }, observed: { ...observed, lapses: 2 } });
    assert.equal(summarize(input).lapses, 2);
  });

  it('counts lapses on a machine that was replaced, and ends well all the same', () => {
    const broken = { totals: { ...totals, lapses: 2, lapsesOfRemoved: 2 }, observed: { ...observed, lapsesOfRemoved: 3 }, replacements: 1 };
    const summary = summarize(summaryInput(broken));
    assert.deepEqual([summary.lapses, summary.lapsesReplaced, summary.replacements, exitCodeOf(summary)], [3, 3, 1, 0]);
    assert.match(summaryText(summary), /1 broken machines replaced/);
  });

  it('does not let the lapses of a replaced machine hide those of another', () => {
    const both = { totals: { ...totals, lapses: 3, lapsesOfRemoved: 2 }, observed: { ...observed, lapsesOfRemoved: 3 }, replacements: 1 };
    const summary = summarize(summaryInput(both));
    assert.equal(summary.lapses, 4);
    assert.match(summary.problems.join(), /^1 certificates ran out/);
  });
});
