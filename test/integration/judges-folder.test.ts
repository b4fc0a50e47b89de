import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Layout, type LocalNode, startLocalCluster } from '@evercert/local';
import { certificatesFromPem, toPem } from '@evercert/shared/x509';
import { assertCleanDer } from '../support/dumpasn1.ts';
import { declaredFiles, readPair, temporaryFolder } from '../support/live.ts';
import { kubeBinary, needTool, repositoryRoot, run, runOk } from '../support/tools.ts';

const hour = 3600;
const pki = 'etc/kubernetes/pki';
const kubelet = 'var/lib/kubelet/pki';
const cluster = `${pki}/ca.crt`;
const etcd = `${pki}/etcd/ca.crt`;
const frontProxy = `${pki}/front-proxy-ca.crt`;

type Purpose = 'server' | 'client';
interface Expected {
  path: string;
  ca: string;
  purposes: Purpose[];
}

const kubeletCertificates: Expected[] = [
  { path: `${kubelet}/kubelet-client-current.pem`, ca: cluster, purposes: ['client'] },
  { path: `${kubelet}/kubelet-server-current.pem`, ca: cluster, purposes: ['server'] },
];

/** What a node of the role holds, and which CA file it is to be judged by. */
function expectedCertificates(role: LocalNode['role'], layout: Layout): Expected[] {
  if (role === 'worker') return kubeletCertificates;
  return [
    { path: `${pki}/apiserver.crt`, ca: cluster, purposes: ['server'] },
    { path: `${pki}/apiserver-kubelet-client.crt`, ca: cluster, purposes: ['client'] },
    { path: `${pki}/apiserver-etcd-client.crt`, ca: etcd, purposes: ['client'] },
    { path: `${pki}/front-proxy-client.crt`, ca: frontProxy, purposes: ['client'] },
    { path: `${pki}/controller-manager.crt`, ca: cluster, purposes: ['client'] },
    { path: `${pki}/scheduler.crt`, ca: cluster, purposes: ['client'] },
    { path: `${pki}/etcd/server.crt`, ca: layout === 'founding' ? cluster : etcd, purposes: ['server', 'client'] },
    { path: `${pki}/etcd/peer.crt`, ca: etcd, purposes: ['server', 'client'] },
    { path: `${pki}/etcd/healthcheck-client.crt`, ca: etcd, purposes: ['client'] },
    ...kubeletCertificates,
  ];
}

const oids = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' };
const nssUsages = { server: 'V', client: 'C' };

for (const keyAlgorithm of ['ecdsa-p384', 'rsa-4096'] as const) {
  for (const layout of ['founding', 'kubeadm'] as const) {
    describe(`what nodes hold in the ${layout} layout with ${keyAlgorithm}, before other people's tools`, function () {
      this.timeout(300_000);
      let runDir: string;
      let scratch: string;
      let nodes: readonly LocalNode[];
      const caFiles = (node: LocalNode): string[] => (node.role === 'worker' ? [cluster] : [cluster, etcd, frontProxy]);

      before(async () => {
        runDir = temporaryFolder('judges');
        scratch = temporaryFolder('judged');
        const options = { controlPlanes: 1, workers: 1, keyAlgorithm, layout, leafLifetimeSeconds: 96 * hour };
        const running = await startLocalCluster({ runDir, ...options });
        try {
          await running.waitUntilReady(240_000);
        } finally {
          await running.stop();
        }
        nodes = running.nodes;
      });
      after(() => {
        for (const folder of [runDir, scratch]) if (folder) rmSync(folder, { recursive: true, force: true });
      });

      function leafOf(node: LocalNode, path: string): Buffer {
        const [leaf] = certificatesFromPem(readFileSync(join(node.rootDir, path)));
        assert.ok(leaf, path);
        return leaf;
      }

      /** The leaf of a declared file in a file of its own, for tools that would choke on the key beside it. */
      function alone(node: LocalNode, path: string): string {
        const file = join(scratch, `${node.name}-${path.replaceAll('/', '-')}.pem`);
        writeFileSync(file, toPem('CERTIFICATE', leafOf(node, path)));
        return file;
      }

      async function forEachLeaf(judge: (node: LocalNode, expected: Expected) => Promise<void>): Promise<void> {
        for (const node of nodes) await Promise.all(expectedCertificates(node.role, layout).map((expected) => judge(node, expected)));
      }

      it('is what the table of certificates says, no more and no less, and no CA key', () => {
        for (const node of nodes) {
          const isCertificate = (path: string): boolean => readFileSync(join(node.rootDir, path), 'utf8').includes('BEGIN CERTIFICATE');
          const found = declaredFiles(node).filter(isCertificate);
          const expected = [...expectedCertificates(node.role, layout).map(({ path }) => path), ...caFiles(node)];
          assert.deepEqual(found.sort(), expected.sort());
          const keys = declaredFiles(node).filter((path) => path.endsWith('.key'));
          assert.deepEqual(
            keys.filter((path) => /ca\.key$/.test(path)),
            [],
          );
        }
      });

      it('holds keys that belong to their certificates, are of the algorithm, and are readable by their owner alone', () => {
        for (const node of nodes) {
          for (const { path } of expectedCertificates(node.role, layout)) {
            const { certificate, key } = readPair(node.rootDir, path);
            const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(key);
            const kind =
              asymmetricKeyType === 'ec' ? asymmetricKeyDetails?.namedCurve : `${asymmetricKeyType} ${asymmetricKeyDetails?.modulusLength}`;
            assert.equal(kind, keyAlgorithm === 'rsa-4096' ? 'rsa 4096' : 'secp384r1', path);
            assert.equal(certificate.ca, false, path);
            const secret = path.endsWith('.crt') ? path.replace(/\.crt$/, '.key') : path;
            assert.equal(statSync(join(node.rootDir, secret)).mode & 0o777, 0o600, secret);
          }
        }
      });

      it('holds the service-account key pair, its halves belonging together, on control-plane nodes alone', () => {
        for (const node of nodes) {
          const files = declaredFiles(node).filter((path) => /\/sa\.(key|pub)$/.test(path));
          assert.deepEqual(files, node.role === 'worker' ? [] : [`${pki}/sa.key`, `${pki}/sa.pub`]);
          const [key, pub] = files.map((path) => createPublicKey(readFileSync(join(node.rootDir, path))));
          if (key) assert.ok(pub && key.equals(pub));
        }
      });

      it('passes `openssl verify -x509_strict` by its CA file, for its purposes', async function () {
        const openssl = needTool(this, 'openssl');
        const verify = ['verify', '-x509_strict', '-check_ss_sig', '-no-CApath', '-CAfile'];
        for (const node of nodes)
          for (const ca of caFiles(node)) await runOk(openssl, [...verify, join(node.rootDir, ca), join(node.rootDir, ca)]);
        await forEachLeaf(async (node, { path, ca, purposes }) => {
          for (const purpose of purposes)
            await runOk(openssl, [...verify, join(node.rootDir, ca), '-purpose', `ssl${purpose}`, alone(node, path)]);
        });
      });

      it('passes GnuTLS `certtool --verify`, for its purposes', async function () {
        const certtool = needTool(this, 'certtool');
        await forEachLeaf(async (node, { path, ca, purposes }) => {
          for (const purpose of purposes) {
            const files = ['--load-ca-certificate', join(node.rootDir, ca), '--infile', alone(node, path)];
            const { stdout } = await runOk(certtool, ['--verify', ...files, '--verify-purpose', oids[purpose]]);
            assert.match(stdout, /Verified\. The certificate is trusted/, path);
          }
        });
      });

      it('passes NSS `certutil -V`, for its purposes', async function () {
        const certutil = needTool(this, 'certutil');
        for (const node of nodes) {
          // A database for each CA: NSS would take any CA that it trusts.
          for (const ca of caFiles(node)) {
            const database = `sql:${temporaryFolder('nss')}`;
            await runOk(certutil, ['-N', '-d', database, '--empty-password']);
            await runOk(certutil, ['-A', '-d', database, '-n', 'ca', '-t', 'CT,C,C', '-i', join(node.rootDir, ca)]);
            for (const { path, purposes } of expectedCertificates(node.role, layout).filter((each) => each.ca === ca)) {
              await runOk(certutil, ['-A', '-d', database, '-n', path, '-t', ',,', '-i', alone(node, path)]);
              for (const purpose of purposes) {
                const { stdout } = await runOk(certutil, ['-V', '-d', database, '-n', path, '-u', nssUsages[purpose], '-e']);
                assert.match(stdout, /certificate is valid/, path);
              }
            }
            rmSync(database.slice('sql:'.length), { recursive: true });
          }
        }
      });

      it('is DER without a warning to dumpasn1', async function () {
        const dumpasn1 = needTool(this, 'dumpasn1');
        const clean = (node: LocalNode, path: string): Promise<void> =>
          assertCleanDer(dumpasn1, leafOf(node, path), join(scratch, `${node.name}-${path.replaceAll('/', '-')}.der`));
        for (const node of nodes) for (const ca of caFiles(node)) await clean(node, ca);
        await forEachLeaf((node, { path }) => clean(node, path));
      });

      it('is read by `kubeadm certs check-expiration`, which finds every certificate in order', async function () {
        const kubeadm = needTool(this, 'kubeadm', kubeBinary);
        const [node] = nodes;
        assert.ok(node);
        const { stdout } = await runOk(kubeadm, ['certs', 'check-expiration', '--cert-dir', join(node.rootDir, pki)]);
        const rows = new Map(stdout.split('\n').map((line) => [/^(\S+) +[A-Z][a-z]{2} \d/.exec(line)?.[1], line]));
        const leaves = ['apiserver', 'apiserver-etcd-client', 'apiserver-kubelet-client', 'etcd-healthcheck-client'];
        for (const name of [...leaves, 'etcd-peer', 'etcd-server', 'front-proxy-client'])
          assert.match(rows.get(name) ?? '', / UTC +3d /, `${name}\n${stdout}`);
        for (const name of ['ca', 'etcd-ca', 'front-proxy-ca']) assert.match(rows.get(name) ?? '', / UTC +9y|10y /, `${name}\n${stdout}`);
        assert.doesNotMatch(stdout, /invalid/);
        // Kubeconfigs are looked for in /etc/kubernetes, whatever the folder.
        const missing = [...stdout.matchAll(/!MISSING! (\S+)/g)].map(([, name]) => name ?? '');
        assert.deepEqual(
          missing.filter((name) => !name.endsWith('.conf')),
          [],
        );
      });

      it('is well to `evercert certs check`', async () => {
        const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');
        const check = async (folder: string, count: number, ...more: string[]): Promise<void> => {
          const { status, stdout } = await run(evercert, ['certs', 'check', folder, '-o', 'json', ...more]);
          const report = JSON.parse(stdout) as { status: string; counts: { well: number }; problems: unknown[] };
          assert.deepEqual([status, report.status, report.counts.well, report.problems], [0, 'well', count, []], stdout);
        };
        await Promise.all(
          nodes.flatMap((node) => {
            const count = expectedCertificates(node.role, layout).filter(({ path }) => path.startsWith(pki)).length + caFiles(node).length;
            return [
              check(join(node.rootDir, pki), count),
              check(join(node.rootDir, kubelet), kubeletCertificates.length, '--ca', join(node.rootDir, cluster)),
            ];
          }),
        );
      });

      it('gives etcd a client CA that signs nothing for kubelets', async function () {
        const openssl = needTool(this, 'openssl');
        const [node] = nodes;
        assert.ok(node);
        const trusts = async (ca: string, path: string): Promise<boolean> => {
          const { status } = await run(openssl, [
            'verify',
            '-no-CApath',
            '-CAfile',
            join(node.rootDir, ca),
            '-purpose',
            'sslclient',
            alone(node, path),
          ]);
          return status === 0;
        };
        // etcd --trusted-ca-file
        assert.equal(await trusts(etcd, `${pki}/apiserver-etcd-client.crt`), true);
        assert.equal(await trusts(etcd, `${kubelet}/kubelet-client-current.pem`), false);
        assert.equal(await trusts(etcd, `${pki}/apiserver-kubelet-client.crt`), false);
        const issuer = new X509Certificate(readFileSync(join(node.rootDir, pki, 'etcd/server.crt'))).issuer;
        assert.match(issuer, layout === 'founding' ? /CN=kubernetes-ca/ : /CN=etcd-ca/);
      });
    });
  }
}
