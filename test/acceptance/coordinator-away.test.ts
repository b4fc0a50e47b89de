import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import type { AgentStatus } from '@evercert/agent/status';
import type { LocalCluster, LocalNode } from '@evercert/local';
import { Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { declaredFiles, issuedCertificates, liveCluster, sharedKeys, statusOf, until, untilReady } from '../support/live.ts';

const lifeSeconds = 30;
const lifeMs = lifeSeconds * 1000;
/**
 * Between two tries lies a random part of an eighth of the time that is left, and at the end of half a second: some fifty tries in a life. The transport may open a
 * connection twice for each, and every fifth failure looks for the CA by its pin.
 */
const mostConnectionsPerSecond = 6;

/** Counts who comes to the coordinator's door while it is away; nobody is let in. */
class Knocking {
  count = 0;
  #server: Server | undefined;

  async open(address: string): Promise<void> {
    const [host, port] = address.split(':');
    const server = createServer((socket) => {
      this.count += 1;
      socket.on('error', () => undefined);
      socket.destroy();
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(Number(port), host, resolve);
    });
    this.#server = server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server) await new Promise((resolve) => server.close(resolve));
  }
}

describe('a coordinator that is away', function () {
  this.timeout(180_000);
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;
  const knocking = new Knocking();

  before(async () => {
    const lives = { leafLifetimeSeconds: lifeSeconds, identityLifetimeSeconds: lifeSeconds };
    ({ cluster, dispose } = await liveCluster({ controlPlanes: 1, workers: 1, ...lives }));
    for (const node of cluster.nodes) await untilReady(node);
  });

  after(async () => {
    await knocking.close();
    await dispose();
  });

  it('for two thirds of what is left of the leaves’ lives, from when they are due: all renew, and none lapses', async () => {
    const before = await statuses();
    const leaves = before.flatMap(({ certificates }) => certificates);
    const firstDueMs = Math.min(...leaves.map(({ nextRenewalAt }) => Date.parse(nextRenewalAt ?? '')));
    await systemClock.sleep(Math.max(0, firstDueMs - 200 - systemClock.nowMs()));
    await cluster.coordinator.process.kill();
    const leftMs =
      Math.min(...(await statuses()).flatMap(({ certificates }) => certificates.map(({ notAfter }) => Date.parse(notAfter ?? '')))) -
      systemClock.nowMs();
    assert.ok(leftMs > lifeMs / 4 && leftMs < lifeMs / 2, `${leftMs} ms are left`);
    await systemClock.sleep((leftMs * 2) / 3);
    const away = await statuses();
    assert.ok(away.every(({ certificates }) => certificates.every(({ state }) => state !== 'Expired')));
    assert.ok(
      away.some(({ certificates }) =>
        certificates.some(({ state, lastErrorCode }) => state === 'RenewalFailing' && lastErrorCode === 'Unavailable'),
      ),
    );
    await cluster.coordinator.start();

    const serials = new Set(leaves.map(({ serial }) => serial));
    await until('every leaf to be a new one', lifeMs, async () =>
      (await statuses()).every(({ certificates }) => certificates.every(({ serial }) => !serials.has(serial))),
    );
    for (const node of cluster.nodes) await untilReady(node);
    for (const { certificates } of await statuses()) {
      assert.deepEqual(
        certificates.filter(({ lapses, lastError }) => lapses > 0 || lastError !== ''),
        [],
      );
      // The row of failures is bounded by the backoff; what is counted includes every try while the coordinator was away.
      assert.deepEqual(
        certificates.filter(({ failures }) => failures > 40),
        [],
      );
    }
    await cluster.waitUntilReady(20_000);
    assert.equal(cluster.summary().lapses, 0, 'seen from outside');
  });

  it('for longer than a whole life: agents tell what is wrong and what to do, keep all files, and do not knock too often', async () => {
    const pids = cluster.nodes.map((node) => node.agent.pid);
    await cluster.coordinator.process.kill();
    await knocking.open(cluster.coordinator.address);
    const files = cluster.nodes.map((node) => contents(node));
    const begunMs = systemClock.monotonicMs();
    const expired = ({ identity, connection, certificates }: AgentStatus): boolean =>
      identity.state === 'IdentityExpired' &&
      connection.state === 'WaitingForIdentity' &&
      certificates.every(({ state }) => state === 'Expired');
    await until('identities and certificates to expire', lifeMs + 10_000, async () => (await statuses()).every(expired), 200);

    for (const [index, { identity, certificates }] of (await statuses()).entries()) {
      const node = cluster.nodes[index] as LocalNode;
      assert.match(
        identity.message,
        /expired at .*keeps all files and asks for a new one by itself.*cannot reach the coordinator.*once the coordinator answers/s,
      );
      for (const { lapses, lastErrorCode, name } of certificates) assert.deepEqual([lapses, lastErrorCode], [1, 'Unavailable'], name);
      assert.deepEqual(contents(node), files[index], 'the files are as they were');
    }
    // A while in this state.
    await systemClock.sleep(3000);
    const seconds = (systemClock.monotonicMs() - begunMs) / 1000;
    assert.ok(knocking.count > 0);
    assert.ok(knocking.count <= mostConnectionsPerSecond * seconds * cluster.nodes.length, `${knocking.count} connections in ${seconds} s`);
    process.stdout.write(`    ${cluster.nodes.length} agents knocked ${knocking.count} times in ${Math.round(seconds)} s\n`);
    assert.deepEqual(
      cluster.nodes.map((node) => node.agent.pid),
      pids,
      'no agent has ended',
    );
  });

  it('and comes back to expired identities: a used-up token is refused in words that help', async () => {
    await knocking.close();
    await cluster.coordinator.start();
    const refused = async (): Promise<boolean> => (await statuses()).every(({ identity }) => identity.code === 'TokenUsedUp');
    await until('the old tokens to be refused', 75_000, refused, 200);
    for (const { identity } of await statuses()) {
      assert.equal(identity.state, 'IdentityExpired');
      assert.match(identity.message, /put a new token for this node into|put it into/);
    }
  });

  it('and all is Ready again once there is a new token for each node, without any other hand on it', async () => {
    const admin = await cluster.admin();
    for (const { name, role, address, configPath } of cluster.nodes) {
      const request = { name, role: role === 'worker' ? Role.WORKER : Role.CONTROL_PLANE, addresses: [address] };
      const { token } = await admin.createToken(cluster.name, request);
      writeFileSync(join(dirname(configPath), 'token'), `${token}\n`);
    }
    for (const node of cluster.nodes) await untilReady(node, 30_000);
    await cluster.waitUntilReady(20_000);
    const issued = await issuedCertificates(cluster);
    assert.deepEqual(sharedKeys(issued), []);
    for (const { name } of cluster.nodes) {
      const current = issued.find((each) => each.node === name && each.name === 'identity' && each.current);
      assert.equal((await statusOf(cluster.node(name)))?.identity.serial, current?.serial, name);
    }
  });

  async function statuses(): Promise<AgentStatus[]> {
    const all = await Promise.all(cluster.nodes.map((node) => statusOf(node)));
    assert.ok(
      all.every((status) => status !== undefined),
      'every agent answers',
    );
    return all;
  }
});

function contents(node: LocalNode): [path: string, content: string][] {
  return declaredFiles(node).map((path) => [path, readFileSync(join(node.rootDir, path), 'latin1')]);
}
