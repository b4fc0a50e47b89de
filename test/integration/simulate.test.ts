import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../simulation/src/main.ts', import.meta.url));

async function simulate(...args: string[]): Promise<{ code: number; lines: string[] }> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.resume();
  const [code] = (await once(child, 'close')) as [number];
  return { code, lines: Buffer.concat(output).toString().trimEnd().split('\n') };
}

describe('The program of the simulation', () => {
  const small = ['--clusters', '20', '--nodes', '20', '--days', '12', '--summary', 'json'];

  it('gives the same output for the same seed, with no violation', async () => {
    const first = await simulate(...small, '--seed', 'integration');
    const second = await simulate(...small, '--seed', 'integration');
    assert.deepEqual(second.lines, first.lines);
    assert.equal(first.code, 0, first.lines.join('\n'));
    assert.match(first.lines[0] ?? '', /^seed integration: 20 clusters of 20 nodes, 12 days$/);
    const summary = JSON.parse(first.lines.at(-1) ?? '');
    const { healthyReplaced, controlPlaneRemoved, limitExceeded, lost } = summary;
    assert.deepEqual(
      { healthyReplaced, controlPlaneRemoved, limitExceeded, lost },
      { healthyReplaced: 0, controlPlaneRemoved: 0, limitExceeded: 0, lost: 0 },
    );
    assert.ok(summary.replacements > 0, JSON.stringify(summary));
  });

  it('prints the seed that it has taken, which replays one of the clusters', async () => {
    const { code, lines } = await simulate('--clusters', '2', '--nodes', '5', '--days', '2');
    const [, seed = ''] = /^seed (\S+):/.exec(lines[0] ?? '') ?? [];
    assert.equal(code, 0, lines.join('\n'));
    const alone = await simulate('--cluster', '2', '--trace', '--nodes', '5', '--days', '2', '--seed', seed);
    assert.equal(alone.code, 0);
    assert.match(alone.lines[1] ?? '', /cluster 2: 5 nodes/);
  });

  it('refuses numbers that make no sense', async () => {
    const { code } = await simulate('--nodes', '1');
    assert.equal(code, 1);
  });
});
