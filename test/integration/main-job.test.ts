import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { findEtcd } from '@evercert/local';
import { temporaryFolder } from '../support/live.ts';
import { MainJob } from '../support/main-job.ts';

describe('npm start', function () {
  this.timeout(180_000);
  let job: MainJob;
  let runDir: string;

  function start(...args: string[]): MainJob {
    runDir = temporaryFolder('main-job');
    job = new MainJob(runDir, args);
    return job;
  }

  afterEach(async () => {
    await job.kill();
    rmSync(runDir, { recursive: true, force: true });
  });

  it('runs five nodes for three lives of every leaf, under a real etcd that takes every write, and says so in JSON', async () => {
    const lifeSeconds = 15;
    const { ended } = start('--duration', '56s', '--leaf-lifetime', `${lifeSeconds}s`, '--summary', 'json');
    assert.deepEqual(await ended, { status: 0, signal: null }, job.output);
    const summary = job.summary;
    assert.deepEqual([summary.nodes, summary.ready, summary.problems], [5, 5, []]);
    assert.ok(summary.certificates >= 3 * 11 + 2 * 2, `${summary.certificates} certificates`);
    // Renewal is due after two thirds of a life at the latest.
    const lives = Math.floor((summary.seconds - (summary.readyAfterSeconds ?? Number.POSITIVE_INFINITY)) / lifeSeconds);
    assert.ok(summary.renewals >= summary.certificates * lives, `${summary.renewals} renewals in ${lives} lives`);
    assert.ok(summary.observedRenewals >= summary.renewals, 'every renewal is seen on the disk');
    assert.deepEqual([summary.lapses, summary.reusedKeys, summary.restarts, summary.replacements], [0, 0, 0, 0]);
    if (findEtcd() === undefined) assert.equal(summary.etcdMembers, 0);
    else {
      assert.ok(summary.etcdMembers === 3 && summary.etcdWrites > 100, `${summary.etcdWrites} writes`);
      assert.deepEqual([summary.etcdWritesFailed, summary.etcdReadsFailed], [0, 0]);
    }
    assert.deepEqual(job.processes(), [], 'nothing runs on');
  });

  it('ends everything that it started when Ctrl-C is pressed, and exits with 0', async () => {
    start('--workers', '0', '--summary', 'json');
    await job.line(findEtcd() === undefined ? /nodes are Ready/ : /etcd: [1-9]\d* writes/);
    assert.ok(job.processes().length >= 5, 'coordinator, agents and what runs them');
    job.interrupt();
    assert.deepEqual(await job.ended, { status: 0, signal: null }, job.output);
    assert.equal(job.summary.ready, 3);
    assert.deepEqual(job.processes(), []);
    assert.deepEqual(readdirSync(runDir).sort(), ['coordinator', 'coordinator.yaml', 'evercert-local.json', 'logs', 'nodes', 'run']);
  });

  it('says what is wrong with an option, and starts nothing', async () => {
    start('--leaf-lifetime', '3');
    const { status } = await job.ended;
    assert.equal(status, 2);
    assert.match(job.output, /--leaf-lifetime.*Expected a time with a unit/);
    assert.deepEqual(readdirSync(runDir), []);
  });
});
