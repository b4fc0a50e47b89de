import assert from 'node:assert/strict';
import type { ReplacementPolicy } from '@evercert/shared/manifest';
import { simulate, simulateCluster, usualWeather } from '@evercert/simulation';

const small = { nodes: 12, days: 8 };

describe('A simulation', () => {
  it('gives the same summary for the same seed, and another for another', async () => {
    const runs = [];
    for (const seed of ['a', 'a', 'b']) runs.push((await simulate({ ...small, seed, clusters: [1, 2] })).summary);
    assert.deepEqual(runs[0], runs[1]);
    assert.notEqual(runs[0]?.digest, runs[2]?.digest);
  });

  it('replays one cluster alone as it was among the others', async () => {
    const digests = new Map<number, string>();
    await simulate({ ...small, seed: 'c', clusters: [1, 2, 3], done: ({ cluster, digest }) => void digests.set(cluster, digest) });
    const lines: string[] = [];
    const alone = await simulateCluster({ ...small, seed: 'c', cluster: 3, tell: (line) => void lines.push(line) });
    assert.equal(alone.digest, digests.get(3));
    assert.match(lines[0] ?? '', /^2026-01-05T00:00:00\.000Z cluster 3: 12 nodes/);
  });

  it('finds nothing wrong with the real decisions, and sees workers replaced, held back and recovered', async () => {
    const weather = { ...usualWeather, nodeDies: 30, cordon: 20 };
    const policy: Partial<ReplacementPolicy> = { mode: 'active', provisioner: 'cloud', maxUnhealthy: '100%' };
    const { summary, violations } = await simulate({ ...small, seed: 'd', clusters: [1, 2, 3], weather, policy });
    assert.deepEqual(violations, []);
    assert.ok(summary.succeeded > 0, 'nobody was replaced');
    assert.ok(Object.keys(summary.heldBy).length > 3, `only held by ${Object.keys(summary.heldBy).join(', ')}`);
  });
});
