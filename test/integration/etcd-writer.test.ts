import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type EtcdEndpoint,
  EtcdWriter,
  etcdArguments,
  etcdClientFiles,
  freePort,
  memberHealth,
  SupervisedProcess,
  type WriterMember,
  waitUntil,
} from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { createEtcdPki, type EtcdPki } from '../support/etcd-pki.ts';
import { needTool } from '../support/tools.ts';

const lifetimeSeconds = 8;
const swaps = 5;
const swapEveryMs = 2000;

describe('a steady writer through a real three-member etcd over mTLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-etcd-'));
  const processes: SupervisedProcess[] = [];
  const problems: string[] = [];
  let pki: EtcdPki;
  let endpoints: EtcdEndpoint[];
  let members: WriterMember[];

  const pkiDirOf = (name: string): string => join(folder, name, 'pki');
  const renewAll = async (): Promise<void> => {
    for (const { name, address } of endpoints) await pki.writeNode(pkiDirOf(name), name, address, lifetimeSeconds);
  };
  const newWriter = (): EtcdWriter => new EtcdWriter({ members, clock: systemClock, onProblem: (text) => problems.push(text) });

  before(async function () {
    const etcd = needTool(this, 'etcd');
    pki = await createEtcdPki();
    const taken = new Set<number>();
    endpoints = [];
    for (const [index, name] of ['cp-1', 'cp-2', 'cp-3'].entries()) {
      const address = `127.0.0.${11 + index}`;
      endpoints.push({
        name,
        address,
        clientPort: await freePort(address, Math.random, taken),
        peerPort: await freePort(address, Math.random, taken),
      });
    }
    await renewAll();
    members = endpoints.map(({ name, address, clientPort }) => ({
      name,
      target: `${address}:${clientPort}`,
      files: etcdClientFiles(pkiDirOf(name), 'founding'),
    }));
    for (const endpoint of endpoints) processes.push(startMember(etcd, endpoint));
    await Promise.all(processes.map((process) => process.start()));
    await waitUntilHealthy();
  });

  after(async () => {
    // One by one: a member that leads hands over before it goes, and that takes two.
    for (const process of processes) await process.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  function startMember(binary: string, endpoint: EtcdEndpoint): SupervisedProcess {
    const dataDir = join(folder, endpoint.name, 'data');
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const args = etcdArguments({ endpoint, members: endpoints, pkiDir: pkiDirOf(endpoint.name), dataDir, clusterToken: 'test' });
    const logPath = join(folder, `${endpoint.name}.log`);
    const spec = { name: endpoint.name, command: binary, args, cwd: folder, logPath, graceMs: 5000, autoRestart: false };
    return new SupervisedProcess(spec, systemClock, (_level, message) => problems.push(message));
  }

  async function waitUntilHealthy(): Promise<void> {
    const healthy = async (): Promise<boolean> =>
      (await Promise.all(members.map((member) => memberHealth(member, systemClock)))).every((each) => each.healthy);
    await waitUntil(systemClock, healthy, { timeoutMs: 30_000, what: 'etcd to find a leader' });
  }

  it('loses no write while every certificate is replaced again and again, past the end of the first ones', async () => {
    const writer = newWriter();
    await writer.start();
    for (let i = 0; i < swaps; i++) {
      await renewAll();
      await systemClock.sleep(swapEveryMs);
    }
    await writer.stop();
    const { writes, writesFailed, reads, readsFailed, connections } = writer.statistics();
    assert.deepEqual({ writesFailed, readsFailed }, { writesFailed: 0, readsFailed: 0 }, problems.join('\n'));
    assert.ok(writes > (swaps * swapEveryMs) / 100, `${writes} writes`);
    assert.ok(reads >= 3, `${reads} reads`);
    // The first, and one for each swap at least, to each member.
    assert.ok(connections >= 3 * (1 + swaps), `${connections} connections`);
  });

  it("refuses a kubelet's certificate, which the Cluster CA signed, although etcd's own server certificate is from there", async () => {
    const [member] = members;
    assert.ok(member);
    const health = await memberHealth({ ...member, files: { ...member.files, ...(await pki.writeKubeletClient(folder)) } }, systemClock);
    assert.equal(health.healthy, false);
    assert.deepEqual((await memberHealth(member, systemClock)).healthy, true);
  });

  it('counts the writes that a killed member fails, and goes on when it is back', async () => {
    const [victim] = processes;
    assert.ok(victim);
    await renewAll();
    const writer = newWriter();
    await writer.start();
    await victim.kill();
    await waitUntil(systemClock, () => writer.statistics().writesFailed >= 3, { timeoutMs: 20_000, what: 'writes to fail' });
    await renewAll();
    await victim.start();
    await waitUntilHealthy();
    await renewAll();
    // Twenty writes through each member without a failure among them.
    let mark = writer.statistics();
    const recovered = (): boolean => {
      const now = writer.statistics();
      if (now.writesFailed > mark.writesFailed) mark = now;
      return now.writes >= mark.writes + 60;
    };
    await waitUntil(systemClock, recovered, { timeoutMs: 20_000, what: 'sixty writes in a row to succeed', pollMs: 20 });
    await writer.stop();
    const { writes, writesFailed, lastError } = writer.statistics();
    assert.ok(writesFailed >= 3 && writesFailed < writes);
    // Through any member: where the killed one led, the others wait for an election.
    assert.match(
      lastError ?? '',
      /^(?:write|reading back write) \d+ through 127\.0\.0\.1[123]:\d+ failed: (?:Unavailable|DeadlineExceeded|Internal|Cancelled)/,
    );
  });
});
