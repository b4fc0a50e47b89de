import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { findEtcd } from '@evercert/local';
import { temporaryFolder } from '../support/live.ts';
import { MainJob } from '../support/main-job.ts';
import { needTool } from '../support/tools.ts';

const lives = 10;
const lifeSeconds = 30;
/** For the way to Ready and to etcd's first write. */
const startSeconds = 30;

describe(`${lives} lives of every leaf, at ${lifeSeconds} s each`, function () {
  this.timeout((lives * lifeSeconds + 180) * 1000);
  let job: MainJob;
  const runDir = temporaryFolder('lives');

  after(async () => {
    await job?.kill();
    rmSync(runDir, { recursive: true, force: true });
  });

  it('pass without a lapse, an old key or a failed write to etcd', async function () {
    needTool(this, 'etcd', () => findEtcd());
    const duration = `${lives * lifeSeconds + startSeconds}s`;
    job = new MainJob(runDir, ['--duration', duration, '--leaf-lifetime', `${lifeSeconds}s`, '--summary', 'json']);
    const { status } = await job.ended;
    const summary = job.summary;
    process.stdout.write(`${JSON.stringify(summary, undefined, 2)}\n`);
    assert.equal(status, 0, job.output);
    assert.ok(summary.renewals >= lives * summary.certificates, `${summary.renewals} renewals of ${summary.certificates} certificates`);
    assert.ok(summary.observedRenewals >= summary.renewals, 'each with a new serial on the disk');
    assert.deepEqual([summary.reusedKeys, summary.lapses, summary.etcdWritesFailed, summary.etcdReadsFailed], [0, 0, 0, 0]);
    assert.ok(summary.readyAfterSeconds !== null && summary.readyAfterSeconds <= 120);
  });
});
