import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openSqliteStore } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';

const writer = join(import.meta.dirname, 'fixtures', 'store-writer.ts');
const inFlight = 5;

describe('the SQLite store, its process killed', () => {
  let folder: string;
  let file: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-store-crash-'));
    file = join(folder, 'store.db');
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  /** Lets a process write until it is killed: by the fault point, or by us once it has acknowledged so many. Returns the numbers that it acknowledged. */
  async function writeUntilKilled(from: number, death: { faultPoint: string } | { afterAcks: number }): Promise<number[]> {
    const env = { ...process.env, ...('faultPoint' in death && { EVERCERT_FAULT_POINT: death.faultPoint }) };
    const child = spawn(process.execPath, [writer, file, String(from)], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    const acknowledged: number[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      const match = /^ack (\d+)$/.exec(line);
      if (match) acknowledged.push(Number(match[1]));
      if ('afterAcks' in death && acknowledged.length === death.afterAcks) child.kill('SIGKILL');
    }
    assert.equal((await exited)[1], 'SIGKILL', 'the writer ended before it was killed');
    return acknowledged;
  }

  /** Opens what the crash left, checks it, and returns the numbers that are there. */
  async function inspect(acknowledged: number[]): Promise<Set<number>> {
    const store = await openSqliteStore({ file, clock: new FakeClock(), logger: silentLogger });
    try {
      const numbers = async (prefix: string): Promise<number[]> =>
        (await store.range({ prefix })).entries.map((entry) => {
          const n = Number(entry.key.slice(prefix.length));
          assert.equal(Buffer.from(entry.value).toString(), `${n}:${'x'.repeat(500)}`);
          return n;
        });
      const [left, right] = [await numbers('left/'), await numbers('right/')];
      assert.deepEqual(left, right, 'half a transaction');
      const present = new Set(left);
      assert.deepEqual(
        acknowledged.filter((n) => !present.has(n)),
        [],
        'acknowledged and lost',
      );
      const { revision } = await store.range({ prefix: '', limit: 1 });
      assert.equal(revision, present.size, 'a revision for each transaction');
      assert.equal((await store.transact([], [{ type: 'put', key: 'last', value: Buffer.from('again') }])).revision, revision + 1);
      await store.transact([], [{ type: 'delete', key: 'last' }]);
      return present;
    } finally {
      await store.close();
    }
  }

  for (const point of ['store.batch.before-commit', 'store.batch.after-commit']) {
    for (const passing of [1, 2, 30]) {
      it(`has every acknowledged write when it dies at ${point}, the ${passing}. time`, async () => {
        const acknowledged = await writeUntilKilled(0, { faultPoint: `${point}@${passing}` });
        const present = await inspect(acknowledged);
        const unacknowledged = [...present].filter((n) => !acknowledged.includes(n)).length;
        if (point.endsWith('before-commit')) assert.equal(unacknowledged, 0);
        // The whole last group was committed, and no one heard of it.
        else assert.ok(unacknowledged >= 1 && unacknowledged <= inFlight, `${unacknowledged} unacknowledged`);
      });
    }
  }

  it('has every acknowledged write whenever it dies, one crash after another over the same file', async () => {
    const acknowledged: number[] = [];
    let crashes = 0;
    for (const afterAcks of [1, 17, 120, 333, 64]) {
      acknowledged.push(...(await writeUntilKilled(crashes * 100_000, { afterAcks })));
      crashes += 1;
    }
    // Each inspection adds two revisions of its own, so it comes once, at the end.
    await inspect(acknowledged);
    assert.ok(acknowledged.length >= 535);
  });
});
