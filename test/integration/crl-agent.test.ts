import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@evercert/agent/agent';
import { agentConfigSchema } from '@evercert/agent/config';
import { type AgentStatus, fetchStatus } from '@evercert/agent/status';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { parseCertificate, parseCrl, pemBlocks, publicKeyPin } from '@evercert/shared/x509';
import { createToken, deadline } from '../support/coordinator.ts';
import { until } from '../support/live.ts';
import { type RevocableCluster, revocableCluster, startRevocableCluster } from '../support/revocable.ts';
import { needTool, run, runOk } from '../support/tools.ts';

describe('an agent that keeps the CRL of a CA in a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-crl-agent-'));
  const root = (path: string): string => join(folder, 'root', path);
  const crlPath = root('etc/kubernetes/pki/etcd/ca.crl');
  const reloads = join(folder, 'reloads');
  const abort = new AbortController();
  let cluster: RevocableCluster;
  let ended: Promise<void>;

  const crl = () => parseCrl(pemBlocks(readFileSync(crlPath))[0]!.der);
  const reloadCount = (): number => readFileSync(reloads, 'utf8').length;
  const status = async (): Promise<AgentStatus | undefined> => {
    try {
      return await fetchStatus(join(folder, 'status.sock'));
    } catch (error) {
      if (error instanceof EvercertError) return undefined;
      throw error;
    }
  };
  const ready = async (): Promise<boolean> => {
    const seen = await status();
    return (
      seen !== undefined &&
      seen.certificates.length > 0 &&
      [...seen.certificates, ...seen.revocationLists].every(({ state }) => state === 'Ready')
    );
  };

  before(async () => {
    cluster = await startRevocableCluster({ crl: { lifetime: '12s' } });
    writeFileSync(reloads, '');
    await cluster.apply(`
apiVersion: evercert.io/v1
kind: RevocationListManifest
metadata: { name: etcd-crl }
spec:
  selector: { role: control-plane }
  issuer: etcd-ca
  file: /etc/kubernetes/pki/etcd/ca.crl
  reload: { command: [/bin/sh, -c, "printf x >> ${reloads}"] }
`);
    const { coordinator } = cluster;
    const token = await createToken(coordinator, revocableCluster, { nodeName: 'cp-1', addresses: ['127.0.0.1'] });
    const config = agentConfigSchema.parse({
      coordinator: { endpoints: [coordinator.address], caPins: [publicKeyPin(coordinator.anchors[0]!)] },
      node: { name: 'cp-1' },
      token,
      stateDir: join(folder, 'state'),
      rootDir: join(folder, 'root'),
      statusSocket: join(folder, 'status.sock'),
      scanInterval: '1s',
    });
    const rest = { clock: systemClock, random: Math.random, logger: silentLogger, env: process.env, pid: process.pid };
    ended = new Agent({ config, ...rest, onReady: () => {}, onStatus: () => {} }).run(abort.signal);
    await until('the agent to be ready', 30_000, ready);
  });

  after(async () => {
    abort.abort();
    await ended;
    await cluster.coordinator.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  it('has it from the start, as OpenSSL verifies by the CA on the node, and reloaded', async function () {
    const openssl = needTool(this, 'openssl');
    const args = ['crl', '-in', crlPath, '-CAfile', root('etc/kubernetes/pki/etcd/ca.crt'), '-noout'];
    assert.match((await runOk(openssl, args)).stderr, /verify OK/);
    await until('the reload', 5000, () => reloadCount() >= 1);
  });

  it('gets each renewal of the list, half of its life after the last', async () => {
    const before = crl().number ?? 0n;
    await until('a newer list', 15_000, () => (crl().number ?? 0n) > before);
    assert.deepEqual(crl().revoked, []);
  });

  it('gets a list with a revoked certificate within two seconds, and reloads', async function () {
    const openssl = needTool(this, 'openssl');
    const peer = root('etc/kubernetes/pki/etcd/peer.crt');
    const { serial } = parseCertificate(pemBlocks(readFileSync(peer))[0]!.der);
    const before = reloadCount();
    await cluster.revoke('stolen', [{ serial, reason: 'keyCompromise' }]);
    await until('the revoked peer in the list', 2000, () => crl().revoked.some((entry) => entry.serial === serial));
    await until('the reload', 5000, () => reloadCount() > before);
    const args = ['verify', '-crl_check', '-CAfile', root('etc/kubernetes/pki/etcd/ca.crt'), '-CRLfile', crlPath, peer];
    const { stdout, stderr } = await run(openssl, args);
    assert.match(stdout + stderr, /certificate revoked/);
  });

  it('puts the file right when it is damaged, cut or gone', async () => {
    for (const damage of [() => writeFileSync(crlPath, 'damaged'), () => writeFileSync(crlPath, ''), () => rmSync(crlPath)]) {
      damage();
      await until('the list to be back', 5000, () => {
        try {
          return crl().revoked.length === 1;
        } catch (error) {
          if (error instanceof Error) return false;
          throw error;
        }
      });
    }
  });

  it('tells the coordinator which list it holds', async () => {
    const { admin } = cluster.coordinator;
    await until('the report', 10_000, async () => {
      const { nodes } = await unary(admin.listNodes.bind(admin), { cluster: revocableCluster, name: 'cp-1' }, deadline);
      const [list] = nodes[0]?.status?.revocationLists ?? [];
      return list?.state === 'Ready' && BigInt(list.number) === crl().number;
    });
  });

  it('removes the file when the list is no longer declared', async () => {
    const { admin } = cluster.coordinator;
    const request = { cluster: revocableCluster, kind: 'RevocationListManifest', name: 'etcd-crl', dryRun: false };
    await unary(admin.deleteManifest.bind(admin), request, deadline);
    await until('the file to go', 5000, () => {
      try {
        readFileSync(crlPath);
        return false;
      } catch (error) {
        if (error instanceof Error && 'code' in error) return error.code === 'ENOENT';
        throw error;
      }
    });
  });
});
