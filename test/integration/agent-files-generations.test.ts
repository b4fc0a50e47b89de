import assert from 'node:assert/strict';
import {
  certificatesFromPem,
  certificatesToPem,
  createCaCsr,
  generateKeyPair,
  issueCa,
  newSerial,
  parseCsr,
  prepareIssuer,
  privateKeyFromPem,
  privateKeyToPem,
  signerFor,
} from '@evercert/shared/x509';
import { parse } from 'yaml';
import { certificateSpec, createTestCa, installNew, outputs, startMs, type TestCa, TestDisk, testCaFromPem } from '../support/pair.ts';
import { needTool, runOk } from '../support/tools.ts';

const every = [outputs.pem, outputs.chain, outputs.combined, outputs.dated, outputs.kubeconfig, outputs.pkcs12];

describe('the files of a node while its CA gets another key', () => {
  let old: TestCa;
  let root: TestCa;
  let intermediate: TestCa;
  let disk: TestDisk;

  before(async () => {
    [old, root] = await Promise.all([createTestCa(), createTestCa('offline root')]);
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    const { subject, spki } = parseCsr(await createCaCsr(signerFor(privateKey), 'kubernetes-ca', 'b2'));
    const signer = prepareIssuer(root.der, signerFor(privateKeyFromPem(root.pem)));
    const times = { notBefore: new Date(startMs - 60_000), notAfter: new Date(startMs + 1000 * 3_600_000) };
    const der = await issueCa(signer, { subject, spki, pathLength: 0, serial: newSerial(), ...times });
    const made = testCaFromPem(certificatesToPem([der]) + privateKeyToPem(privateKey));
    // As the coordinator answers: what is above the leaf goes along, but for the root.
    intermediate = { ...made, issue: async (...args) => [...(await made.issue(...args)), der] };
  });
  beforeEach(() => {
    disk = new TestDisk();
  });
  afterEach(() => disk.remove());

  const certificates = (path: string): Buffer[] => certificatesFromPem(disk.read(path));
  const kubeconfig = (): { authorities: Buffer[]; client: Buffer[] } => {
    const config = parse(disk.read(outputs.kubeconfig.file.path)) as {
      clusters: { cluster: Record<string, string> }[];
      users: { user: Record<string, string> }[];
    };
    const of = (text: string | undefined): Buffer[] => certificatesFromPem(Buffer.from(text ?? '', 'base64'));
    return {
      authorities: of(config.clusters[0]?.cluster['certificate-authority-data']),
      client: of(config.users[0]?.user['client-certificate-data']),
    };
  };

  it('hold the leaf with the intermediate in every form, and the root where it is trusted alone', async function () {
    const spec = certificateSpec(every);
    const { chain } = await installNew(disk.files(), intermediate, spec, [root.der]);
    assert.equal(chain.length, 2);
    for (const path of [outputs.pem.certificate.path, outputs.combined.file.path, outputs.dated.file.path])
      assert.deepEqual(certificates(path), chain, path);
    assert.deepEqual(certificates(outputs.chain.file.path), [intermediate.der, root.der]);
    assert.deepEqual(kubeconfig(), { authorities: [root.der], client: chain });
    const p12 = ['pkcs12', '-in', disk.real(outputs.pkcs12.file.path), '-passin', 'pass:correct horse', '-nokeys'];
    const { stdout } = await runOk(needTool(this, 'openssl'), p12);
    assert.deepEqual(new Set(certificatesFromPem(stdout).map(String)), new Set(chain.map(String)));
  });

  it('are written anew where they hold the CAs when those change, and the pair in them is the same', async () => {
    const spec = certificateSpec(every);
    const files = disk.files();
    const { serial, chain } = await installNew(files, old, spec);
    const before = [outputs.pem.certificate.path, outputs.pem.privateKey.path, outputs.combined.file.path].map((path) => disk.read(path));
    for (const anchors of [[old.der, root.der], [root.der]]) {
      const changed = (await files.restore(spec, anchors)).map(({ path }) => path);
      assert.deepEqual(changed.sort(), [outputs.kubeconfig.file.path, outputs.chain.file.path].sort());
      assert.deepEqual(kubeconfig(), { authorities: anchors, client: chain });
      assert.deepEqual(certificates(outputs.chain.file.path), anchors);
      assert.deepEqual(await files.inspect(spec, anchors), []);
    }
    assert.equal((await files.installed(spec.name))?.serial, serial);
    assert.deepEqual(
      [outputs.pem.certificate.path, outputs.pem.privateKey.path, outputs.combined.file.path].map((path) => disk.read(path)),
      before,
    );
  });

  it('take no leaf of the new key before its root is trusted here, and keep the old one, which goes on being right', async () => {
    const spec = certificateSpec([outputs.pem]);
    const files = disk.files();
    const { serial } = await installNew(files, old, spec);
    await assert.rejects(installNew(files, intermediate, spec, [old.der]), /not trusted/);
    assert.deepEqual(await files.inspect(spec, [old.der]), []);
    await files.discardPending(spec.name);
    assert.deepEqual(await files.inspect(spec, [old.der, root.der]), []);
    assert.equal((await files.installed(spec.name))?.serial, serial);
    assert.equal((await installNew(files, intermediate, spec, [old.der, root.der])).chain.length, 2);
  });

  it('take no leaf that comes without what is between it and the root', async () => {
    const spec = certificateSpec([outputs.pem]);
    const bare = {
      ...intermediate,
      issue: async (...args: Parameters<TestCa['issue']>) => (await intermediate.issue(...args)).slice(0, 1),
    };
    await assert.rejects(installNew(disk.files(), bare, spec, [root.der]), /not trusted/);
  });
});
