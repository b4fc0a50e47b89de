import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findTool, kubeBinary, run, runOk } from '../../support/tools.ts';

describe('the test tools', () => {
  it('run a command with input and environment and tell how it ended', async () => {
    const result = await run('sh', ['-c', 'cat; echo "$EVERCERT_T" >&2; exit 3'], { input: 'in', env: { EVERCERT_T: 'out' } });
    assert.deepEqual([result.status, result.stdout, result.stderr], [3, 'in', 'out\n']);
  });

  it('stop a command that takes too long and say so', async () => {
    await assert.rejects(run('sleep', ['10'], { timeoutMs: 50 }), /still running after 50 ms/);
  });

  it('reject with the output of a failed command when success was expected', async () => {
    await assert.rejects(runOk('sh', ['-c', 'echo why >&2; exit 4']), /exit code 4.*\nwhy/);
  });

  it('find no tool that does not exist', () => {
    assert.equal(findTool('no-such-tool-anywhere'), undefined);
    assert.match(findTool('sh') ?? '', /^\/.*\/sh$/);
  });

  it('take Kubernetes binaries from $KUBE_BIN_DIR first', () => {
    const folder = mkdtempSync(join(tmpdir(), 'evercert-test-'));
    const before = process.env['KUBE_BIN_DIR'];
    try {
      writeFileSync(join(folder, 'kubeadm'), '#!/bin/sh\n');
      chmodSync(join(folder, 'kubeadm'), 0o755);
      process.env['KUBE_BIN_DIR'] = folder;
      assert.equal(kubeBinary('kubeadm'), join(folder, 'kubeadm'));
      assert.equal(kubeBinary('no-such-binary'), undefined);
    } finally {
      if (before === undefined) delete process.env['KUBE_BIN_DIR'];
      else process.env['KUBE_BIN_DIR'] = before;
      rmSync(folder, { recursive: true });
    }
  });
});
