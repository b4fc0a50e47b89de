import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAdmin, runProgram } from '@evercert/cli';
import { loadMaterial } from '@evercert/cli/contexts';
import { type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { ClusterSpec, Role } from '@evercert/proto';
import { type AuditEntryLine, verifyAuditLog } from '@evercert/shared/audit';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { certificatesFromPem, generateKeyPair } from '@evercert/shared/x509';
import { auditFiles, entriesIn } from '../support/audit-sealing.ts';
import { createToken, deadline, enroll, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { desiredState, issue, withCode } from '../support/node-calls.ts';
import { repositoryRoot } from '../support/tools.ts';

describe('the audit log of a coordinator', function () {
  this.timeout(120_000);
  let coordinator: TestCoordinator;
  let folder: string;
  let caFile: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-audit-'));
    const audit = { checkpointInterval: '1s', directory: join(folder, 'files'), maxFileSize: 10_000 };
    coordinator = await startTestCoordinator({ config: { audit } });
    caFile = join(coordinator.dataDir, 'admin', 'ca.crt');
  });
  after(async () => {
    await coordinator.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  /** The command in this process, at a time that may be later than now. */
  const cli = async (args: string[], laterMs = 0): Promise<{ status: number; stdout: string; stderr: string }> => {
    const result = { stdout: '', stderr: '' };
    const append = (to: keyof typeof result) => (text: string) => {
      result[to] += text;
    };
    const status = await runProgram(args, {
      clock: Object.assign(Object.create(systemClock) as typeof systemClock, { nowMs: () => systemClock.nowMs() + laterMs }),
      env: { EVERCERT_CONFIG: join(coordinator.dataDir, 'admin', 'config.yaml') },
      cwd: folder,
      homeDir: folder,
      out: append('stdout'),
      err: append('stderr'),
      readStdin: () => Promise.resolve(''),
      connect: async (context, options) => connectAdmin(await loadMaterial(context), options),
    });
    return { status, ...result };
  };
  const exported = async (): Promise<string> => {
    const { stdout, stderr, status } = await cli(['audit', 'export']);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const ofReason = (text: string, reason: string): AuditEntryLine[] => entriesIn(text).filter(({ event }) => event.reason === reason);

  it('tells of clusters, tokens, issues, refusals, revocations and calls, each with what identifies it and no secret', async () => {
    assert.equal((await cli(['cluster', 'create', 'demo', '--node-address-range', '127.0.0.0/8'])).status, 0);
    const token = await createToken(coordinator, 'demo', { role: Role.WORKER, nodeName: 'w-1', addresses: ['127.0.1.1'] });
    const node = await enroll(coordinator, { token, name: 'w-1' });
    const desired = await desiredState(node.client);
    const declared = desired.certificates.find(({ name }) => name === 'kubelet-client')!;
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    await issue(node.client, declared.name, declared.specHash, privateKey);
    node.client.close();
    await assert.rejects(enroll(coordinator, { token: 'abcdef.0123456789abcdef', name: 'w-2' }), withCode('InvalidToken'));
    const revoked = await cli([
      'revoke',
      '--group',
      'system:nodes',
      '-c',
      'demo',
      '--yes',
      '--name',
      'gone',
      '--not-before',
      '2020-01-01T00:00:00Z',
    ]);
    assert.equal(revoked.status, 0, revoked.stderr);
    assert.equal((await cli(['delete', 'revocation', 'gone', '-c', 'demo'])).status, 0);

    const text = await exported();
    const [identity, kubelet] = ofReason(text, 'CertificateIssued').map(({ event }) => event);
    assert.equal(identity?.details?.['tokenId'], token.slice(0, 6));
    assert.equal(identity?.actor, `token/${token.slice(0, 6)}`);
    assert.deepEqual(
      [kubelet?.cluster, kubelet?.node, kubelet?.certificate, kubelet?.actor, kubelet?.details?.['issuer']],
      ['demo', 'w-1', 'kubelet-client', 'node/demo/w-1', 'cluster-ca'],
    );
    for (const name of ['issuerSerial', 'publicKeySha256', 'notBefore', 'notAfter', 'issueReason'])
      assert.ok(kubelet?.details?.[name], name);
    const [made] = ofReason(text, 'TokenCreated');
    assert.equal(made?.event.details?.['maxUses'], '1');
    assert.ok(!text.includes(token.slice(7)), 'the secret of a token is in no log');
    assert.equal(ofReason(text, 'JoinRefused').length, 1);
    const [applied] = ofReason(text, 'RenewRevocationApplied');
    const [deleted] = ofReason(text, 'RenewRevocationDeleted');
    for (const entry of [applied, deleted]) {
      assert.equal(JSON.parse(entry?.event.details?.['revocation'] ?? '{}').entries[0].value, 'system:nodes');
    }
    const calls = ofReason(text, 'AdminCall').map(({ event }) => event.method?.split('/').at(-1));
    for (const method of ['CreateCluster', 'CreateToken', 'Apply', 'DeleteRevocation']) assert.ok(calls.includes(method), method);
    assert.ok(!calls.some((method) => method?.startsWith('List')), 'reads are no entries unless they are asked for');
    const [call] = ofReason(text, 'AdminCall');
    assert.match(call?.event.details?.['peer'] ?? '', /^127\.0\.0\.1:\d+$/);
    assert.equal(call?.event.details?.['outcome'], 'OK');
  });

  it('tells of calls that failed and of those that were refused', async () => {
    assert.notEqual((await cli(['delete', 'token', 'zzzzzz', '-c', 'demo'])).status, 0);
    const node = await enroll(coordinator, {
      token: await createToken(coordinator, 'demo', { role: Role.WORKER, nodeName: 'w-3' }),
      name: 'w-3',
    });
    node.client.close();
    const { AdminServiceClient } = await import('@evercert/proto');
    const { createClientCredentials } = await import('@evercert/shared/grpc');
    const credentials = createClientCredentials({ trustAnchors: coordinator.anchors, chain: node.chain, privateKey: node.privateKey });
    const asNode = new AdminServiceClient(coordinator.address, credentials);
    await assert.rejects(unary(asNode.listNodes.bind(asNode), { cluster: 'demo', name: '' }, deadline), withCode('PermissionDenied'));
    asNode.close();
    const text = await exported();
    const failed = ofReason(text, 'AdminCall').find(({ event }) => event.method?.endsWith('/DeleteToken'));
    assert.equal(failed?.event.errorCode, 'NotFound');
    const [refused] = ofReason(text, 'CallRefused');
    assert.deepEqual([refused?.event.actor, refused?.event.errorCode], ['node/demo/w-3', 'PermissionDenied']);
  });

  it('leaves calls out of lists of events, unless they are asked for', async () => {
    assert.doesNotMatch((await cli(['events', '-A'])).stdout, /AdminCall/);
    assert.match((await cli(['events', '-A', '--reason', 'AdminCall'])).stdout, /AdminCall/);
  });

  it('is searched by serial, node, actor, reason and time, in pages', async () => {
    const all = entriesIn(await exported());
    const kubelet = all.find(({ event }) => event.certificate === 'kubelet-client')!;
    const bySerial = JSON.parse((await cli(['audit', 'search', '--serial', kubelet.event.serial!, '-o', 'json'])).stdout);
    assert.deepEqual(
      bySerial.items.map((item: { spec: { sequence: number } }) => item.spec.sequence),
      [kubelet.sequence],
    );
    assert.equal(bySerial.items[0].spec.hash, kubelet.hash);
    const byNode = await cli(['audit', 'list', '--node', 'w-1', '-o', 'name']);
    const named = all
      .filter(({ event }) => event.node === 'w-1' || event.details?.['node'] === 'w-1')
      .map(({ sequence }) => `auditentry/${sequence}`);
    assert.deepEqual(byNode.stdout.trim().split('\n'), named);
    const past = await cli(['audit', 'list', '--until', '2020-01-01T00:00:00Z']);
    assert.equal(past.stderr, 'No entries found.\n');
    const recent = await cli(['audit', 'list', '--actor', 'admin/admin', '--since', '1h', '--limit', '2', '--no-headers']);
    assert.equal(recent.stdout.trim().split('\n').length, 2);
    const admin = coordinator.admin;
    const filter = { cluster: '', node: '', serial: '', actor: '', reason: '', since: undefined, until: undefined };
    const seen: number[] = [];
    for (let pageToken = ''; ; ) {
      const page = await unary(admin.listAuditEntries.bind(admin), { ...filter, pageSize: 5, pageToken }, deadline);
      seen.push(...page.entries.map(({ sequence }) => sequence));
      if (page.nextPageToken === '') break;
      pageToken = page.nextPageToken;
    }
    assert.deepEqual(
      seen,
      seen.map((_, index) => seen[0]! - index),
      'newest first, none twice, none left out',
    );
    assert.equal(seen.at(-1), 1);
  });

  it('verifies at the coordinator, as files that it wrote, and offline with the CA alone', async () => {
    const there = await cli(['audit', 'verify']);
    assert.equal(there.status, 0, there.stdout + there.stderr);
    assert.match(there.stdout, /is as it was written: entries 1 to \d+, signed up to \d+\.\n$/);
    const names = (): string[] => readdirSync(join(folder, 'files'));
    await until('a file to be begun anew', 20_000, () => names().length > 1);
    const files = names().map((name) => join(folder, 'files', name));
    const written = await cli(['audit', 'verify', ...files]);
    assert.equal(written.status, 0, written.stdout + written.stderr);
    writeFileSync(join(folder, 'export.jsonl'), await exported());
    const offline = await cli(['audit', 'verify', join(folder, 'export.jsonl'), '--ca', caFile]);
    assert.equal(offline.status, 0, offline.stdout + offline.stderr);
    assert.equal(
      JSON.parse((await cli(['audit', 'verify', join(folder, 'export.jsonl'), '--ca', caFile, '-o', 'json'])).stdout).good,
      true,
    );
  });

  /** Places of two entries that stand behind each other. */
  const pair = (lines: string[]): [number, number] => {
    const at = lines.findIndex((line, index) => index > 3 && [line, lines[index + 1]].every((one) => one?.includes('"type":"entry"}\n')));
    assert.ok(at > 0);
    return [at, at + 1];
  };
  const tampering: [string, (lines: string[], at: [number, number]) => string[], RegExp][] = [
    ['a change', (l, [at]) => l.with(at, l[at]!.replace(/"reason":"\w+"/, '"reason":"Nothing"')), /broken at entry/],
    ['a removed entry', (l, [at]) => l.toSpliced(at, 1), /missing at entry/],
    ['two entries in another order', (l, [at, next]) => l.with(at, l[next]!).with(next, l[at]!), /order at entry/],
    ['an inserted entry', (l, [at, next]) => l.toSpliced(next, 0, l[at]!), /order at entry/],
    ['a beginning that is cut off', (l) => [l[0]!, ...l.slice(3)], /missing at entry/],
    ['an end that is cut off', (l) => l.slice(0, -1), /cut-off at entry/],
    ['an end that is cut within a line', (l) => l.with(-1, l.at(-1)!.slice(0, 40)), /cut-off at entry/],
  ];
  for (const [what, tamper, told] of tampering) {
    it(`says of a log with ${what} that it is not as it was written, and where`, async () => {
      const lines = (await exported()).split(/(?<=\n)/);
      const file = join(folder, 'tampered.jsonl');
      writeFileSync(file, tamper(lines, pair(lines)).join(''));
      const { status, stdout } = await cli(['audit', 'verify', file, '--ca', caFile]);
      assert.equal(status, 1);
      assert.match(stdout, told);
      assert.match(stdout, /is NOT as it was written/);
    });
  }

  it('finds by the coordinator what nothing in a file tells: an end that was cut right behind a signature', async () => {
    const lines = (await exported()).split(/(?<=\n)/);
    const ends = lines.flatMap((line, index) => (line.includes('"type":"checkpoint"') ? [index] : []));
    const file = join(folder, 'shorter.jsonl');
    writeFileSync(file, lines.slice(0, ends[0]! + 1).join(''));
    assert.equal((await cli(['audit', 'verify', file, '--ca', caFile])).status, 0, 'alone it is a log that was shorter');
    const partial = await cli(['audit', 'verify', file, '--partial']);
    assert.equal(partial.status, 0, partial.stdout);
    const { status, stdout } = await cli(['audit', 'verify', file], 120_000);
    assert.equal(status, 1, stdout);
    assert.match(stdout, /cut-off at entry \d+: the files end with entry \d+, and the coordinator's log goes on/);
  });

  it('has a page whose commands work as they stand', async () => {
    const page = readFileSync(join(repositoryRoot, 'docs', 'audit.md'), 'utf8');
    const commands = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => block!.trimEnd().split('\n'));
    assert.ok(commands.length > 10);
    writeFileSync(join(folder, 'control-ca.pem'), readFileSync(caFile));
    for (const command of commands) {
      const [words = '', file] = command.split(' > ');
      const { status, stdout, stderr } = await cli(words.split(' ').slice(1));
      assert.equal(status, 0, `${command}\n${stdout}${stderr}`);
      if (file !== undefined) writeFileSync(join(folder, file), stdout);
    }
  });

  it('refuses a strange CA, and files that are none', async () => {
    const strange = await startTestCoordinator();
    try {
      const file = join(folder, 'export.jsonl');
      const { status, stdout } = await cli(['audit', 'verify', file, '--ca', join(strange.dataDir, 'admin', 'ca.crt')]);
      assert.equal(status, 1);
      assert.match(stdout, /strange-key at entry/);
    } finally {
      await strange.dispose();
    }
    assert.notEqual((await cli(['audit', 'verify', join(folder, 'nothing.jsonl'), '--ca', caFile])).status, 0);
  });

  it('goes on in the same chain after a restart', async () => {
    const before = entriesIn(await exported()).length;
    coordinator = await coordinator.restart();
    const text = await exported();
    assert.ok(entriesIn(text).length > before);
    assert.ok(ofReason(text, 'CoordinatorStarted').length >= 2);
    const verified = await cli(['audit', 'verify']);
    assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  });

  it('follows what comes', async () => {
    const stream = coordinator.admin.exportAudit({ fromSequence: 0, follow: true });
    let text = '';
    stream.on('data', ({ lines }: { lines: Uint8Array }) => {
      text += Buffer.from(lines).toString();
    });
    stream.on('error', () => undefined);
    await until('the log so far', 10_000, () => entriesIn(text).length > 10);
    await createToken(coordinator, 'demo', { role: Role.WORKER, nodeName: 'late' });
    await until('the new token', 10_000, () => text.includes('for worker late until'));
    stream.cancel();
    await assert.rejects(
      async () => {
        for await (const _ of coordinator.admin.exportAudit({ fromSequence: 1_000_000, follow: false }));
      },
      (error: { code?: number }) => error.code === 9,
    );
  });
});

describe('the audit log of a coordinator that is killed', function () {
  this.timeout(240_000);
  let runDir: string;
  let cluster: LocalCluster;

  before(async () => {
    runDir = temporaryFolder('audit');
    const audit = { checkpointInterval: '1s', directory: join(runDir, 'audit') };
    cluster = await prepareLocalCluster({ runDir, controlPlanes: 1, workers: 0, autoRestart: false, coordinatorConfig: { audit } });
  });
  after(async () => {
    await cluster.stop();
    rmSync(runDir, { recursive: true, force: true });
  });

  it('has every event once, in one chain, wherever it died', async () => {
    await cluster.coordinator.start();
    await (await cluster.admin()).createCluster(cluster.name, ClusterSpec.fromPartial({ nodeAddressRanges: ['127.0.0.0/8'] }));
    let made = 0;
    const work = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        await (await cluster.admin()).createToken(cluster.name, { name: `n-${made + 1}`, role: Role.WORKER, addresses: [] });
        made += 1;
      }
    };
    for (const point of ['audit-seal-begun', 'audit-seal-acted', '']) {
      const arm = join(runDir, 'armed');
      rmSync(arm, { force: true });
      await cluster.coordinator.process.kill();
      await cluster.coordinator.start(point === '' ? {} : { EVERCERT_FAULT_POINT: point, EVERCERT_FAULT_ARM: arm });
      await work(3);
      writeFileSync(arm, '');
      const dead = async (): Promise<boolean> => {
        await work(1).catch((error: unknown) => assert.ok(error instanceof EvercertError));
        return !cluster.coordinator.process.running;
      };
      if (point !== '') await until(`the coordinator to die at ${point}`, 20_000, dead, 300);
      if (point !== '') assert.equal((await cluster.coordinator.process.waitForExit(20_000))?.signal, 'SIGKILL', point);
    }
    const admin = await cluster.admin();
    const { tokens } = await admin.call(admin.client.listTokens, { cluster: cluster.name });
    let text = '';
    for await (const { lines } of admin.client.exportAudit({ fromSequence: 0, follow: false })) text += Buffer.from(lines).toString();
    const anchors = certificatesFromPem(readFileSync(join(cluster.coordinator.adminDir, 'ca.crt')));
    const report = await verifyAuditLog([{ name: 'export', bytes: [Buffer.from(text)] as never }], { anchors, partial: false });
    assert.deepEqual(report.faults, []);
    const entries = entriesIn(text);
    const told = entries.filter(({ event }) => event.reason === 'TokenCreated').map(({ event }) => event.details?.['tokenId']);
    assert.deepEqual(told.toSorted(), tokens.map(({ id }) => id).toSorted());
    assert.equal(new Set(entries.map(({ event }) => `${event.cluster}/${event.id}`)).size, entries.length, 'no event stands twice');
    await until('the files to hold it', 20_000, async () =>
      (await files()).includes(text.slice(text.lastIndexOf('\n', text.length - 2) + 1)),
    );
    const sources = (await auditFiles(join(runDir, 'audit'))).map(({ name, text: of }) => ({ name, bytes: [Buffer.from(of)] as never }));
    assert.deepEqual((await verifyAuditLog(sources, { anchors, partial: false })).faults, []);
  });

  async function files(): Promise<string> {
    return (await auditFiles(join(runDir, 'audit'))).map(({ text }) => text).join('');
  }
});
