import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@evercert/agent/agent';
import { agentConfigSchema } from '@evercert/agent/config';
import { systemClock } from '@evercert/shared/clock';
import { unary } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { certificatesFromPem, certificatesToPem, parseCertificate, parseCrl, pemBlocks, publicKeyPin } from '@evercert/shared/x509';
import { createToken, deadline } from '../support/coordinator.ts';
import { until } from '../support/live.ts';
import { type IssuedPair, type RevocableCluster, revocableCluster, startRevocableCluster } from '../support/revocable.ts';
import { needTool, run, runOk } from '../support/tools.ts';

describe('a node whose CA is rotated while certificates of the old key are revoked', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-crl-generations-'));
  const root = (path: string): string => join(folder, 'root', path);
  const crlPath = root('etc/kubernetes/cluster-ca.crl');
  const checkedPath = root('etc/kubernetes/checked.crt');
  const abort = new AbortController();
  let cluster: RevocableCluster;
  let ended: Promise<void> | undefined;
  let stolen: IssuedPair;
  let oldSerial: string;

  const lists = () => pemBlocks(readFileSync(crlPath)).map(({ der }) => parseCrl(der));
  const serialsIn = (list: ReturnType<typeof parseCrl>): string[] => list.revoked.map(({ serial }) => serial);
  const checked = () => parseCertificate(certificatesFromPem(readFileSync(checkedPath))[0]!);
  const authority = async () => {
    const { admin } = cluster.coordinator;
    const { certificateAuthorities } = await unary(admin.listCertificateAuthorities.bind(admin), { cluster: revocableCluster }, deadline);
    return certificateAuthorities.find(({ name }) => name === 'cluster-ca')!;
  };
  const listAt = async (url: string): Promise<ReturnType<typeof parseCrl>> => {
    const response = await fetch(url);
    assert.equal(response.status, 200, url);
    return parseCrl(Buffer.from(await response.arrayBuffer()));
  };

  before(async () => {
    cluster = await startRevocableCluster({ rotation: { awayAfter: '1s' } });
    await cluster.apply(`
apiVersion: evercert.io/v1
kind: RevocationListManifest
metadata: { name: cluster-crl }
spec:
  selector: { role: control-plane }
  issuer: cluster-ca
  format: pem
  file: /etc/kubernetes/cluster-ca.crl
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
    // A machine that is never heard: what it has of the old key keeps the rotation waiting.
    const away = await cluster.join('cp-2', '127.0.0.2');
    stolen = await cluster.issue(away, 'checked');
    away.client.close();
    await cluster.revoke('stolen', [{ serial: stolen.serial, reason: 'keyCompromise', includeSuccessors: false }]);
    await until('the list before', 30_000, () => exists(() => serialsIn(lists()[0]!).includes(stolen.serial) && checked().serial !== ''));
    oldSerial = (await authority()).serial;
  });

  after(async () => {
    abort.abort();
    await ended;
    await cluster.coordinator.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  it('gets a certificate of the new key, whose URLs name that key, and had one whose URLs name none', async () => {
    const before = checked();
    assert.deepEqual(before.crlUrls.map(pathOf), ['/crl/demo/cluster-ca.crl']);
    const { admin } = cluster.coordinator;
    const order = { certificateAuthorities: ['cluster-ca'], reason: 'requested', note: '', keyAlgorithm: '', intermediate: false };
    await unary(
      admin.rotateCertificateAuthority.bind(admin),
      { cluster: revocableCluster, ...order, deadline: undefined, dryRun: false },
      deadline,
    );
    await until('the new certificate', 60_000, () => checked().serial !== before.serial);
    const { serial } = await authority();
    assert.notEqual(serial, oldSerial);
    assert.deepEqual(checked().crlUrls.map(pathOf), [`/crl/demo/cluster-ca/${serial}.crl`]);
    assert.deepEqual(checked().caIssuerUrls.map(pathOf), [`/ca/demo/cluster-ca/${serial}.crt`]);
    assert.deepEqual(checked().ocspUrls, before.ocspUrls);
  });

  it('has what is revoked of the old key on its list, and on the first in the file; the new key has a list of its own', async () => {
    const { serial } = await authority();
    assert.deepEqual(serialsIn(await listAt(`${cluster.url}/crl/demo/cluster-ca.crl`)), [stolen.serial]);
    assert.deepEqual(serialsIn(await listAt(`${cluster.url}/crl/demo/cluster-ca/${serial}.crl`)), []);
    await until('both lists in the file', 10_000, () => lists().length === 2);
    assert.deepEqual(lists().map(serialsIn), [[stolen.serial], [stolen.serial]]);
  });

  it('lists what is revoked of the new key within two seconds, and not as of the old one', async () => {
    const { serial } = checked();
    await cluster.revoke('new', [{ serial, includeSuccessors: false }]);
    await until('it in the file', 2000, () => serialsIn(lists()[0]!).includes(serial));
    assert.deepEqual(
      lists().map((list) => serialsIn(list).length),
      [2, 1],
    );
    assert.deepEqual(serialsIn(await listAt(checked().crlUrls[0]!)), [serial]);
  });

  it('has a file by which OpenSSL refuses the revoked certificates of either key, and no other', async function () {
    const openssl = needTool(this, 'openssl');
    writeFileSync(join(folder, 'stolen.crt'), certificatesToPem([stolen.certificate]));
    const verify = ['verify', '-crl_check', '-CAfile', root('etc/kubernetes/pki/ca.crt'), '-CRLfile', crlPath];
    for (const path of [join(folder, 'stolen.crt'), checkedPath]) {
      const { stdout, stderr } = await run(openssl, [...verify, path]);
      assert.match(stdout + stderr, /certificate revoked/, path);
    }
    await runOk(openssl, [...verify, root('etc/kubernetes/pki/apiserver.crt')]);
  });
});

function pathOf(url: string): string {
  return new URL(url).pathname;
}

/** Files come one after the other. */
function exists(look: () => boolean): boolean {
  try {
    return look();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
