import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { childEnvironment, type ProcessSpec, SupervisedProcess, waitUntil } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';

describe('a supervised process', () => {
  const notices: string[] = [];
  let folder: string;
  let process_: SupervisedProcess | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-process-'));
    notices.length = 0;
  });

  afterEach(async () => {
    await process_?.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  function supervise(script: string, changes: Partial<ProcessSpec> = {}): SupervisedProcess {
    const spec = {
      name: 'child',
      command: 'sh',
      args: ['-c', script],
      cwd: folder,
      logPath: join(folder, 'log'),
      graceMs: 200,
      autoRestart: false,
    };
    process_ = new SupervisedProcess({ ...spec, ...changes }, systemClock, (_level, message) => notices.push(message));
    return process_;
  }

  const log = (): string => readFileSync(join(folder, 'log'), 'utf8');
  const until = (predicate: () => boolean): Promise<void> =>
    waitUntil(systemClock, predicate, { timeoutMs: 3000, what: 'the child', pollMs: 10 });

  it('runs, logs, and ends by SIGTERM without a word', async () => {
    const child = supervise('echo up; exec sleep 60');
    await child.start();
    await until(() => log() === 'up\n');
    await child.stop();
    assert.equal(child.running, false);
    assert.equal(child.lastExit?.signal, 'SIGTERM');
    assert.deepEqual([notices, child.unexpectedExits], [[], 0]);
  });

  it('is killed, with its own children, when SIGTERM does not end it', async () => {
    const child = supervise("trap '' TERM; sleep 60 & echo $!; wait; wait");
    await child.start();
    await until(() => /^\d+\n$/.test(log()));
    const grandchild = Number(log());
    await child.stop();
    assert.equal(child.lastExit?.signal, 'SIGKILL');
    assert.match(notices[0] ?? '', /did not end within 0\.2 s of SIGTERM/);
    await until(() => !exists(grandchild));
  });

  it('is started again when it ends by itself, without the variables of its first run', async () => {
    const child = supervise('echo "fault: $EVERCERT_FAULT_POINT"; test -n "$EVERCERT_FAULT_POINT" && exit 3; exec sleep 60', {
      autoRestart: true,
    });
    await child.start({ EVERCERT_FAULT_POINT: 'here' });
    assert.equal((await child.waitForExit(2000))?.code, 3);
    await until(() => child.running && log() === 'fault: here\nfault: \n');
    assert.deepEqual([child.restarts, child.unexpectedExits], [1, 1]);
    assert.match(notices[0] ?? '', /child ended unexpectedly \(exit code 3; log: .*log\): starting it again/);
  });

  it('stays down after a kill that was asked for, until it is started', async () => {
    const child = supervise('exec sleep 60', { autoRestart: true });
    await child.start();
    const first = child.pid;
    await child.kill();
    assert.deepEqual([child.running, child.restarts, child.lastExit?.signal], [false, 0, 'SIGKILL']);
    await child.start();
    assert.notEqual(child.pid, first);
  });

  it('tells when waiting for its end takes too long', async () => {
    const child = supervise('exec sleep 60');
    await child.start();
    await assert.rejects(child.waitForExit(20), { code: 'DeadlineExceeded' });
  });

  it('does not inherit what is meant for its parent', () => {
    const inherited = { PATH: '/bin', NOTIFY_SOCKET: '/run/x', EVERCERT_FAULT_POINT: 'a', ETCD_DISCOVERY: 'b', ETCD: '/bin/etcd' };
    assert.deepEqual(childEnvironment({ A: '1' }, inherited), { PATH: '/bin', ETCD: '/bin/etcd', A: '1' });
  });
});

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie that nobody has waited for yet has ended all the same.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error && (error.code === 'ESRCH' || error.code === 'ENOENT'), String(error));
    return false;
  }
}
