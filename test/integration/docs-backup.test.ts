import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterSpec } from '@evercert/proto';
import { unary } from '@evercert/shared/grpc';
import { deadline, startTestCoordinator } from '../support/coordinator.ts';
import { repositoryRoot, runOk } from '../support/tools.ts';

describe('what the documentation says of backups', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'evercert-docs-backup-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const page = readFileSync(join(repositoryRoot, 'docs', 'backup.md'), 'utf8');
  const block = (name: string): string => new RegExp(`<!-- ${name} -->\\n\`\`\`sh\\n([\\s\\S]*?)\`\`\``).exec(page)?.[1] ?? '';
  const path = `${join(repositoryRoot, 'node_modules', '.bin')}:${process.env['PATH']}`;

  it('works as it is written, from the backup to the restore', async () => {
    const coordinator = await startTestCoordinator();
    const env = { PATH: path, HOME: folder, EVERCERT_CONFIG: join(coordinator.dataDir, 'admin', 'config.yaml') };
    const shell = async (script: string): Promise<string> => (await runOk('/bin/sh', ['-ec', script], { cwd: folder, env })).stdout;
    const dataDir = join(folder, 'restored');
    mkdirSync(dataDir, { mode: 0o700 });
    writeFileSync(join(folder, 'backup-passphrase'), 'seven random words of some length\n', { mode: 0o600 });
    writeFileSync(join(folder, 'coordinator.yaml'), JSON.stringify({ dataDir, log: { level: 'error' } }));
    try {
      const { admin } = coordinator;
      await unary(admin.createCluster.bind(admin), { name: 'demo', spec: ClusterSpec.fromPartial({}) }, deadline);
      assert.match(await shell(block('backup')), /evercert\.backup is whole/);
      await shell('evercert audit export > audit.jsonl');
      copyFileSync(join(coordinator.dataDir, 'ca-passphrase'), join(dataDir, 'ca-passphrase'));
    } finally {
      await coordinator.dispose();
    }
    const told = await shell(block('restore'));
    assert.match(told, /Nothing was changed\. The backup is whole/);
    assert.match(told, /All CA keys can be opened\. Start the coordinator\./);
  });
});
