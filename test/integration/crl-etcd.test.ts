import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type EtcdEndpoint, etcdArguments, etcdClientFiles, freePort, memberHealth, SupervisedProcess, waitUntil } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { certificatesToPem, parseCrl, privateKeyToPem } from '@evercert/shared/x509';
import type { TestNode } from '../support/coordinator.ts';
import { type IssuedPair, type RevocableCluster, startRevocableCluster } from '../support/revocable.ts';
import { needTool, run } from '../support/tools.ts';

const names = ['cp-1', 'cp-2', 'cp-3'];
/** Manifests of the founding layout, and where their files lie below the PKI folder. */
const files = { 'etcd-peer': 'etcd/peer', 'etcd-server': 'etcd/server', 'apiserver-etcd-client': 'apiserver-etcd-client' };

describe("a real etcd that reads the etcd CA's CRL", () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-crl-etcd-'));
  const endpoints: EtcdEndpoint[] = [];
  const members = new Map<string, SupervisedProcess>();
  const nodes = new Map<string, TestNode>();
  const issued = new Map<string, IssuedPair>();
  let cluster: RevocableCluster;
  let next: IssuedPair;
  let etcd: string;
  let curl: string;

  const pkiDir = (name: string): string => join(folder, name, 'pki');
  const endpoint = (name: string): EtcdEndpoint => endpoints.find((each) => each.name === name) as EtcdEndpoint;
  const log = (name: string): string => readFileSync(join(folder, `${name}.log`), 'utf8');
  const healthy = async (name: string, files = etcdClientFiles(pkiDir(name), 'founding')): Promise<boolean> => {
    const { address, clientPort } = endpoint(name);
    return (await memberHealth({ target: `${address}:${clientPort}`, files }, systemClock)).healthy;
  };
  const untilHealthy = (...wanted: string[]): Promise<void> =>
    waitUntil(systemClock, async () => (await Promise.all(wanted.map((name) => healthy(name)))).every(Boolean), {
      timeoutMs: 30_000,
      what: `${wanted.join(', ')} to be healthy`,
    });

  /** By a rename, as the agent does it. */
  function put(path: string, content: string | Buffer): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.new`, content, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  async function install(name: string, certificate: keyof typeof files): Promise<void> {
    const pair = await cluster.issue(nodes.get(name) as TestNode, certificate);
    issued.set(`${name}/${certificate}`, pair);
    write(name, certificate, pair);
  }

  function write(name: string, certificate: keyof typeof files, pair: IssuedPair): void {
    put(join(pkiDir(name), `${files[certificate]}.crt`), certificatesToPem([pair.certificate]));
    put(join(pkiDir(name), `${files[certificate]}.key`), privateKeyToPem(pair.privateKey));
  }

  /** The CRL that lists these, in every member's file. */
  async function spread(serials: string[]): Promise<void> {
    const listed = async (): Promise<boolean> => {
      const found = parseCrl(await cluster.crl('etcd-ca')).revoked.map(({ serial }) => serial);
      return serials.every((serial) => found.includes(serial));
    };
    await waitUntil(systemClock, listed, { timeoutMs: 5000, what: 'the CRL' });
    const der = await cluster.crl('etcd-ca');
    for (const name of names) put(join(pkiDir(name), 'etcd', 'ca.crl'), der);
  }

  /** Asks one member's peer port with another's peer certificate, as it does itself. */
  async function asPeer(from: string, to: string): Promise<string> {
    const { address, peerPort } = endpoint(to);
    const pair = join(pkiDir(from), 'etcd', 'peer');
    const args = ['-sS', '--http1.1', '--cacert', join(pkiDir(from), 'etcd', 'ca.crt'), '--cert', `${pair}.crt`, '--key', `${pair}.key`];
    // From the address that stands in the certificate.
    const { status, stdout, stderr } = await run(curl, [
      ...args,
      '--interface',
      endpoint(from).address,
      `https://${address}:${peerPort}/members`,
    ]);
    return status === 0 ? stdout : `refused: ${stderr}`;
  }

  before(async function () {
    etcd = needTool(this, 'etcd');
    curl = needTool(this, 'curl');
    cluster = await startRevocableCluster();
    const taken = new Set<number>();
    for (const [index, name] of names.entries()) {
      const address = `127.0.0.${21 + index}`;
      const ports = { clientPort: await freePort(address, Math.random, taken), peerPort: await freePort(address, Math.random, taken) };
      endpoints.push({ name, address, ...ports });
      nodes.set(name, await cluster.join(name, address));
      for (const certificate of Object.keys(files)) await install(name, certificate as keyof typeof files);
      for (const [path, ca] of [
        ['ca.crt', 'cluster-ca'],
        ['etcd/ca.crt', 'etcd-ca'],
      ]) {
        const response = await fetch(`${cluster.url}/ca/demo/${ca}.crt`);
        put(join(pkiDir(name), path as string), certificatesToPem([Buffer.from(await response.arrayBuffer())]));
      }
    }
    // Its renewal, before anything is stolen.
    next = await cluster.issue(nodes.get('cp-3') as TestNode, 'etcd-peer');
    await spread([]);
    for (const name of names) {
      const dataDir = join(folder, name, 'data');
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      const crl = join(pkiDir(name), 'etcd', 'ca.crl');
      const args = etcdArguments({ endpoint: endpoint(name), members: endpoints, pkiDir: pkiDir(name), dataDir, clusterToken: 'crl' });
      const spec = {
        name,
        command: etcd,
        args: [...args, `--peer-crl-file=${crl}`, `--client-crl-file=${crl}`],
        cwd: folder,
        logPath: join(folder, `${name}.log`),
        graceMs: 5000,
        autoRestart: false,
      };
      members.set(name, new SupervisedProcess(spec, systemClock, () => {}));
    }
    await Promise.all([...members.values()].map((member) => member.start()));
    await untilHealthy(...names);
  });

  after(async () => {
    for (const member of members.values()) await member.stop();
    for (const node of nodes.values()) node.client.close();
    await cluster?.coordinator.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  it('takes every peer and client while the list is empty', async () => {
    assert.match(await asPeer('cp-3', 'cp-1'), /peerURLs/);
    assert.match(await asPeer('cp-2', 'cp-1'), /peerURLs/);
  });

  it('refuses a peer from the moment that its certificate is on the list, without a restart, and no other', async () => {
    const stolen = issued.get('cp-3/etcd-peer') as IssuedPair;
    await cluster.revoke('stolen', [{ serial: stolen.serial, reason: 'keyCompromise', includeSuccessors: false }]);
    await spread([stolen.serial]);
    assert.match(await asPeer('cp-3', 'cp-1'), /^refused: /);
    assert.match(await asPeer('cp-2', 'cp-1'), /peerURLs/);
    assert.match(log('cp-1'), /certificate serial [^"]*revoked/);
  });

  it('refuses it after a restart too, as the member itself sees', async () => {
    const before = log('cp-1').length;
    await members.get('cp-3')?.stop();
    await members.get('cp-3')?.start();
    const refusals = (): boolean => /rejected connection.*"cp-3".*revoked/.test(log('cp-1').slice(before));
    await waitUntil(systemClock, refusals, { timeoutMs: 15_000, what: 'cp-1 to refuse cp-3' });
    await untilHealthy('cp-1', 'cp-2');
  });

  it('takes the peer again with its next certificate', async () => {
    write('cp-3', 'etcd-peer', next);
    assert.match(await asPeer('cp-3', 'cp-1'), /peerURLs/);
    await untilHealthy(...names);
  });

  it('refuses a client whose certificate is on the list, and no other', async () => {
    const client = issued.get('cp-2/apiserver-etcd-client') as IssuedPair;
    await cluster.revoke('client', [{ serial: client.serial }]);
    await spread([client.serial]);
    assert.equal(await healthy('cp-1', etcdClientFiles(pkiDir('cp-2'), 'founding')), false);
    assert.equal(await healthy('cp-1'), true);
  });
});
