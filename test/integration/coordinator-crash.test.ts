import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { X509Certificate } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { type Certificate, ClusterSpec, Role } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { certificatesFromPem, createCsr, generateKeyPair, spkiDer } from '@evercert/shared/x509';
import { type CoordinatorAddress, deadline, enroll, nodeClient, type TestNode } from '../support/coordinator.ts';
import {
  issuedCertificates,
  leftovers,
  liveCluster,
  serialOf,
  sharedKeys,
  spkiOf,
  statusOf,
  temporaryFolder,
  until,
  untilReady,
} from '../support/live.ts';
import { desiredState, issue, withCode } from '../support/node-calls.ts';

const exitMs = 30_000;

async function assertKilled({ coordinator }: LocalCluster, what: string): Promise<void> {
  assert.equal((await coordinator.process.waitForExit(exitMs))?.signal, 'SIGKILL', what);
}

const clusterSpec = ClusterSpec.fromPartial({
  keyAlgorithm: 'ecdsa-p384',
  layout: 'founding',
  nodeAddressRanges: ['127.0.0.0/8'],
  leafLifetimeSeconds: 3600,
  identityLifetimeSeconds: 3600,
});

describe('a coordinator killed between commit and reply', function () {
  this.timeout(240_000);
  let runDir: string;
  let cluster: LocalCluster;
  let address: CoordinatorAddress;
  let count = 0;

  before(async () => {
    runDir = temporaryFolder('crash');
    // Its nodes are never started: the test speaks for them.
    cluster = await prepareLocalCluster({ runDir, controlPlanes: 1, workers: 0, autoRestart: false });
  });

  after(async () => {
    await cluster.stop();
    rmSync(runDir, { recursive: true, force: true });
  });

  for (const point of [
    'keys.before-rename',
    'keys.after-rename',
    'keys.after-sync',
    'store.batch.before-commit',
    'store.batch.after-commit',
  ]) {
    it(`starts as if for the first time when it died at ${point} of its first start`, async () => {
      await cluster.coordinator.process.start({ EVERCERT_FAULT_POINT: point });
      await assertKilled(cluster, point);
      await cluster.coordinator.start();
      await cluster.coordinator.process.kill();
      await cluster.coordinator.stop();
      rmSync(cluster.coordinator.dataDir, { recursive: true });
    });
  }

  it('makes a cluster whole or not at all, and makes it when it is asked again', async () => {
    await cluster.coordinator.start();
    const admin = await cluster.admin();
    for (const point of [
      'keys.before-rename@2',
      'keys.after-rename@3',
      'keys.after-sync@4',
      'store.batch.before-commit',
      'store.batch.after-commit',
    ]) {
      count += 1;
      const name = `made-${count}`;
      const create = (): Promise<void> => admin.createCluster(name, clusterSpec);
      await passing(point, create, async () => {
        const { clusters } = await admin.call(admin.client.listClusters, {});
        if (clusters.some((each) => each.name === name)) {
          assert.equal(point, 'store.batch.after-commit');
          await assert.rejects(create(), withCode('AlreadyExists'));
        } else await create();
        const { certificateAuthorities } = await admin.call(admin.client.listCertificateAuthorities, { cluster: name });
        assert.deepEqual(certificateAuthorities.map((ca) => ca.name).sort(), ['cluster-ca', 'etcd-ca', 'front-proxy-ca'], point);
      });
    }
    await admin.createCluster(cluster.name, clusterSpec);
    address = {
      address: cluster.coordinator.address,
      anchors: certificatesFromPem(readFileSync(join(cluster.coordinator.adminDir, 'ca.crt'))),
    };
  });

  for (const point of [
    'coordinator.issue.before-commit',
    'coordinator.issue.after-commit',
    'store.batch.before-commit',
    'store.batch.after-commit',
  ]) {
    const durable = point.endsWith('after-commit');
    // The coordinator's own mark is a batch too, every ten seconds, and may be the one at which it dies.
    const retries = point.startsWith('store.batch') ? 3 : 0;

    it(`lets a node join by the same token and key after ${point}, once`, async function () {
      this.retries(retries);
      const admin = await cluster.admin();
      const name = nextName();
      const { token } = await admin.createToken(cluster.name, { name, role: Role.WORKER, addresses: [] });
      const key = await generateKeyPair('ecdsa-p256');
      const join = async (with_ = key): Promise<TestNode> => {
        const node = await enroll(address, { token, name, key: with_ });
        node.client.close();
        return node;
      };
      const uses = async (): Promise<number> => {
        const { tokens } = await admin.call(admin.client.listTokens, { cluster: cluster.name });
        return Number(tokens.find(({ nodeName }) => nodeName === name)?.uses);
      };
      await passing(point, join, async () => {
        assert.equal(await uses(), durable ? 1 : 0, 'the token is burnt by what was made, and by nothing else');
        const node = await sameAnswer(name, 'identity', key.privateKey, durable, async () => (await join()).chain);
        assert.equal(await uses(), 1);
        await assert.rejects(join(await generateKeyPair('ecdsa-p256')), withCode('TokenUsedUp'));
        assert.equal(serialOf(node), serialOf(await sameAnswer(name, 'identity', key.privateKey, true, async () => (await join()).chain)));
      });
    });

    it(`answers the same request with the same certificate after ${point}`, async function () {
      this.retries(retries);
      const node = await joined();
      const desired = await withClient(node, (client) => desiredState(client));
      const declared = desired.certificates.find(({ name }) => name === 'kubelet-client');
      assert.ok(declared);
      const { privateKey } = await generateKeyPair('ecdsa-p384');
      const ask = (): Promise<Buffer[]> => withClient(node, (client) => issue(client, declared.name, declared.specHash, privateKey));
      await passing(point, ask, () => sameAnswer(node.name, declared.name, privateKey, durable, ask));
    });

    it(`renews an identity once after ${point}, and takes the old one meanwhile`, async function () {
      this.retries(retries);
      const node = await joined();
      const { privateKey } = await generateKeyPair('ecdsa-p256');
      const renew = (): Promise<Buffer[]> =>
        withClient(node, async (client) => {
          const csr = await createCsr({ privateKey, commonName: node.name });
          return (await unary(client.renewIdentity.bind(client), { csr }, deadline)).chain;
        });
      await passing(point, renew, async () => {
        const renewed = await sameAnswer(node.name, 'identity', privateKey, durable, renew);
        const identities = await issuedCertificates(cluster, { node: node.name, name: 'identity' });
        assert.equal(identities.length, 2);
        assert.equal(identities.find(({ current }) => current)?.serial, serialOf(renewed));
      });
    });
  }

  it('has issued no certificate twice', async () => {
    assert.deepEqual(sharedKeys(await issuedCertificates(cluster)), []);
  });

  /** Kills the coordinator at the point while it works on the request; what comes after, on a coordinator that was started again, is `then`. */
  async function passing(point: string, request: () => Promise<unknown>, then: () => Promise<unknown>): Promise<void> {
    const arm = join(runDir, 'armed');
    rmSync(arm, { force: true });
    await cluster.coordinator.process.kill();
    await cluster.coordinator.start({ EVERCERT_FAULT_POINT: point, EVERCERT_FAULT_ARM: arm });
    writeFileSync(arm, '');
    await assert.rejects(
      request(),
      (error) => error instanceof EvercertError && ['Unavailable', 'DeadlineExceeded', 'Cancelled', 'Internal'].includes(error.code),
    );
    await assertKilled(cluster, point);
    await cluster.coordinator.start();
    await then();
  }

  /** Asks again; checks that there is one certificate for the key then, the one that was there before if there was to be one. */
  async function sameAnswer(
    node: string,
    name: string,
    key: KeyObject,
    before: boolean,
    ask: () => Promise<Buffer[]>,
  ): Promise<X509Certificate> {
    const spki = spkiDer(key).toString('base64');
    const ofKey = async (): Promise<Certificate[]> => {
      const all = await issuedCertificates(cluster, { node, name });
      return all.filter(({ certificatePem }) => spkiOf(new X509Certificate(certificatePem)) === spki);
    };
    const earlier = (await ofKey()).map(({ serial }) => serial);
    assert.equal(earlier.length, before ? 1 : 0);
    const [leaf] = await ask();
    const certificate = new X509Certificate(leaf as Buffer);
    if (before) assert.deepEqual([serialOf(certificate)], earlier);
    assert.deepEqual(
      (await ofKey()).map(({ serial }) => serial),
      [serialOf(certificate)],
    );
    return certificate;
  }

  async function joined(): Promise<TestNode> {
    const name = nextName();
    const { token } = await (await cluster.admin()).createToken(cluster.name, { name, role: Role.WORKER, addresses: [`127.0.1.${count}`] });
    const node = await enroll(address, { token, name });
    node.client.close();
    return node;
  }

  /** A client of its own for each call: the one before may still wait to connect again. */
  async function withClient<T>({ chain, privateKey }: TestNode, work: (client: TestNode['client']) => Promise<T>): Promise<T> {
    const client = nodeClient(address, chain, privateKey);
    try {
      return await work(client);
    } finally {
      client.close();
    }
  }

  function nextName(): string {
    count += 1;
    return `node-${count}`;
  }
});

describe('agents whose coordinator is killed again and again', function () {
  this.timeout(240_000);
  const identityLifetimeSeconds = 16;
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;

  before(async () => {
    const env = { coordinator: { EVERCERT_FAULT_POINT: 'coordinator.issue.after-commit' } };
    const options = { controlPlanes: 1, workers: 0, leafLifetimeSeconds: 3600, identityLifetimeSeconds, env };
    ({ cluster, dispose } = await liveCluster(options));
  });

  after(() => dispose());

  it('join and get every certificate by themselves, each once', async () => {
    await assertKilled(cluster, 'at enrolment');
    for (const point of ['coordinator.issue.before-commit@3', 'coordinator.issue.after-commit@3', 'store.batch.after-commit@9']) {
      await cluster.coordinator.process.start({ EVERCERT_FAULT_POINT: point });
      await assertKilled(cluster, point);
    }
    await cluster.coordinator.start();
    const [node] = cluster.nodes;
    assert.ok(node);
    const { certificates } = await untilReady(node, 60_000);
    const issued = await issuedCertificates(cluster);
    assert.deepEqual(issued.map(({ name }) => name).sort(), ['identity', ...certificates.map(({ name }) => name)].sort());
    assert.deepEqual(leftovers(node), []);
  });

  it('renew their identity by themselves, and use the newest that there is', async () => {
    const [node] = cluster.nodes;
    assert.ok(node);
    for (const [index, point] of ['coordinator.issue.before-commit', 'coordinator.issue.after-commit'].entries()) {
      await cluster.coordinator.process.kill();
      await cluster.coordinator.process.start({ EVERCERT_FAULT_POINT: point });
      await assertKilled(cluster, point);
      await cluster.coordinator.start();
      let identities: Certificate[] = [];
      await until('the identity to be the newest', 20_000, async () => {
        identities = await issuedCertificates(cluster, { node: node.name, name: 'identity' });
        const serial = (await statusOf(node))?.identity.serial;
        return identities.length > index + 1 && identities.find(({ current }) => current)?.serial === serial;
      });
      assert.equal(identities.length, index + 2);
    }
    await untilReady(node);
    assert.deepEqual(sharedKeys(await issuedCertificates(cluster)), []);
  });
});
