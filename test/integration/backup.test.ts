import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentStatus } from '@evercert/agent/status';
import type { LocalCluster } from '@evercert/local';
import { issuedCertificates, liveCluster, statusOf, until, untilReady } from '../support/live.ts';
import { type RunResult, repositoryRoot, run } from '../support/tools.ts';

const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');
const coordinatorBin = join(repositoryRoot, 'coordinator', 'bin');
const lifeSeconds = 60;

describe('a backup', function () {
  this.timeout(300_000);
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;
  let folder = '';
  let archive = '';
  let passphraseFile = '';
  let auditLog = '';
  let tokenId = '';
  let atBackup: AgentStatus[] = [];
  const revoked = 'gone-since.example';

  const cli = (args: string[], env: Record<string, string> = {}): Promise<RunResult> =>
    run(evercert, args, {
      env: {
        ...process.env,
        PATH: `${coordinatorBin}:${process.env['PATH']}`,
        EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml'),
        ...env,
      },
    });
  const restore = (configPath: string, args: string[] = [], env: Record<string, string> = {}): Promise<RunResult> =>
    cli(['--config', configPath, 'restore', '--from', archive, '--passphrase-file', passphraseFile, ...args], env);
  const statuses = (): Promise<AgentStatus[]> => Promise.all(cluster.nodes.map((node) => untilReady(node)));

  before(async () => {
    const lives = { leafLifetimeSeconds: lifeSeconds, identityLifetimeSeconds: lifeSeconds };
    ({ cluster, dispose } = await liveCluster({ controlPlanes: 1, workers: 1, ...lives }));
    folder = cluster.coordinator.dataDir.replace(/[^/]+$/, 'backups');
    mkdirSync(folder, { mode: 0o700 });
    archive = join(folder, 'evercert.backup');
    auditLog = join(folder, 'audit.jsonl');
    passphraseFile = join(folder, 'passphrase');
    writeFileSync(passphraseFile, 'seven random words of some length\n', { mode: 0o600 });
    atBackup = await statuses();
  });

  after(async () => {
    await dispose();
  });

  it('is made while the coordinator serves, and verified', async () => {
    const token = await cli(['token', 'create', '--role', 'worker', '--cluster', cluster.name, '-o', 'json']);
    assert.equal(token.status, 0, token.stderr);
    tokenId = /"id": ?"([^"]+)"/.exec(token.stdout)?.[1] ?? '';
    const made = await cli(['backup', 'create', '--out', archive, '--passphrase-file', passphraseFile]);
    assert.equal(made.status, 0, made.stderr);
    assert.match(made.stdout, /key files +\d/);
    assert.equal(statSync(archive).mode & 0o777, 0o600);
    const verified = await cli(['backup', 'verify', archive, '--passphrase-file', passphraseFile]);
    assert.equal(verified.status, 0, verified.stderr);
    assert.match(verified.stdout, /is whole/);
    assert.ok(!/BEGIN (?:EC |RSA )?PRIVATE KEY/.test(readFileSync(archive, 'latin1')));
    const again = await cli(['backup', 'create', '--out', archive, '--passphrase-file', passphraseFile]);
    assert.equal(again.status, 5, again.stderr);
  });

  it('is refused when it was cut off, changed, or the passphrase is another', async () => {
    const whole = readFileSync(archive);
    const wrong = join(folder, 'wrong.backup');
    writeFileSync(wrong, whole.subarray(0, whole.length - 100));
    assert.equal((await cli(['backup', 'verify', wrong, '--passphrase-file', passphraseFile])).status, 1);
    const flipped = Buffer.from(whole);
    flipped[whole.length >> 1] = (flipped[whole.length >> 1] ?? 0) ^ 1;
    writeFileSync(wrong, flipped);
    assert.equal((await cli(['backup', 'verify', wrong, '--passphrase-file', passphraseFile])).status, 1);
    const other = join(folder, 'other');
    writeFileSync(other, 'another passphrase altogether\n', { mode: 0o600 });
    assert.equal((await cli(['backup', 'verify', archive, '--passphrase-file', other])).status, 6);
  });

  it('is restored elsewhere through kills at every step, and no coordinator starts on a part of it', async () => {
    const dataDir = join(folder, 'elsewhere');
    const configPath = join(folder, 'elsewhere.yaml');
    mkdirSync(dataDir, { mode: 0o700 });
    writeFileSync(configPath, JSON.stringify({ dataDir, listen: '127.0.0.1:1', log: { level: 'error' } }));
    const unopened = await restore(configPath);
    assert.equal(unopened.status, 6, unopened.stdout + unopened.stderr);
    assert.match(unopened.stderr, /passphrase file .* is missing/);
    copyFileSync(join(cluster.coordinator.dataDir, 'ca-passphrase'), join(dataDir, 'ca-passphrase'));
    const looked = await restore(configPath, ['--dry-run']);
    assert.equal(looked.status, 0, looked.stderr);
    assert.ok(!existsSync(join(dataDir, 'keys', cluster.name)));
    for (const point of ['restore-claimed', 'restore-keys-written', 'restore-copied', 'restore-verified']) {
      const killed = await restore(configPath, [], { EVERCERT_FAULT_POINT: point });
      assert.equal(killed.status, 137, `${point}: ${killed.stderr}`);
      const started = await run(join(coordinatorBin, 'evercert-coordinator'), ['--config', configPath]);
      assert.equal(started.status, 6, point);
      assert.match(started.stderr, /not complete/);
    }
    const done = await restore(configPath);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /completing an earlier run/);
    assert.match(done.stdout, /No audit log was given/);
    assert.match(done.stdout, /All CA keys can be opened/);
    const twice = await restore(configPath);
    assert.equal(twice.status, 6, twice.stdout);
  });

  it('is followed by renewals and a revocation, which the audit log tells of', async () => {
    const renewed = (now: AgentStatus | undefined, then: AgentStatus | undefined): boolean =>
      now !== undefined &&
      now.identity?.serial !== then?.identity?.serial &&
      now.certificates.every(({ name, serial }) => serial !== then?.certificates.find((each) => each.name === name)?.serial);
    await until('everything to be renewed', 90_000, async () => {
      const now = await Promise.all(cluster.nodes.map(statusOf));
      return now.every((status, index) => renewed(status, atBackup[index]));
    });
    const revoking = await cli(['revoke', '--cluster', cluster.name, '--dns', revoked, '--name', 'since']);
    assert.equal(revoking.status, 0, revoking.stderr);
    const exported = await cli(['audit', 'export']);
    assert.equal(exported.status, 0, exported.stderr);
    writeFileSync(auditLog, exported.stdout);
  });

  it('is restored in a fresh folder', async () => {
    const { dataDir, configPath, process: child } = cluster.coordinator;
    const passphrase = readFileSync(join(dataDir, 'ca-passphrase'));
    await child.kill();
    rmSync(dataDir, { recursive: true });
    mkdirSync(dataDir, { mode: 0o700 });
    writeFileSync(join(dataDir, 'ca-passphrase'), passphrase, { mode: 0o600 });
    const done = await restore(configPath, ['--audit-log', auditLog]);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /1 revocations/);
    assert.match(done.stdout, /3 join tokens are void/);
    assert.match(done.stdout, /All CA keys can be opened/);
  });

  it('brings every agent back without a join, and what is not in it is learned', async () => {
    await cluster.coordinator.start();
    const back = await statuses();
    for (const { certificates } of back) for (const { name, lapses } of certificates) assert.equal(lapses, 0, name);
    const admin = await cluster.admin();
    const { revocations } = await admin.call(admin.client.listRevocations, { cluster: cluster.name, name: '' });
    assert.ok(revocations.some(({ name }) => name === 'since'));
    const { tokens } = await admin.call(admin.client.listTokens, { cluster: cluster.name });
    assert.ok(!tokens.some(({ id }) => id === tokenId));
    await until('every certificate in use to be known', 20_000, async () => {
      const known = new Set((await issuedCertificates(cluster)).map(({ serial }) => serial));
      const now = await Promise.all(cluster.nodes.map(statusOf));
      return now.every((status) => status?.certificates.every(({ serial }) => serial !== undefined && known.has(serial)));
    });
    const events = await cli(['events', '-o', 'json']);
    assert.equal(events.status, 0, events.stderr);
    assert.match(events.stdout, /IdentityLearned/);
    const reasons = new Set((await issuedCertificates(cluster)).map(({ reason }) => reason));
    assert.ok(reasons.has('Learned'), [...reasons].join());
  });

  it('goes on with the audit log where the backup ended', async () => {
    await until('the log to tell of the restore', 15_000, async () =>
      (await cli(['audit', 'list', '--reason', 'StoreRestored'])).stdout.includes('StoreRestored'),
    );
    const verified = await cli(['audit', 'verify']);
    assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  });

  it('is made of a coordinator that is stopped, too', async () => {
    await cluster.coordinator.process.kill();
    const out = join(folder, 'offline.backup');
    const made = await run(join(coordinatorBin, 'evercert-coordinator'), [
      '--config',
      cluster.coordinator.configPath,
      'backup',
      '--out',
      out,
      '--passphrase-file',
      passphraseFile,
    ]);
    assert.equal(made.status, 0, made.stderr);
    renameSync(out, archive);
    assert.equal((await cli(['backup', 'verify', archive, '--passphrase-file', passphraseFile])).status, 0);
  });
});
