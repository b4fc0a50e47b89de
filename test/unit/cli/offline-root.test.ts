import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthorityRotation } from '@evercert/proto';
import {
  certificatesFromPem,
  createCaCsr,
  createCsr,
  generateKeyPair,
  newSerial,
  parseCertificate,
  parseCrl,
  pemBlocks,
  privateKeyFromPem,
  publicKeyPin,
  signerFor,
  toPem,
  verifyChain,
  verifyCrl,
} from '@evercert/shared/x509';
import { fakeApi, now, type Outcome, run } from './support.ts';

const passphrase = 'six random words of a person';
const dayMs = 86_400_000;

describe('an offline root', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-offline-root-'));
  const path = (name: string): string => join(folder, name);
  const text = (name: string): string => readFileSync(path(name), 'utf8');
  const certificate = (name: string): Buffer => certificatesFromPem(text(name))[0]!;
  const ca = (command: string, ...args: string[]): Promise<Outcome> =>
    run(['ca', command, ...args, '--passphrase-file', 'pass'], { cwd: folder });
  const signer = ['--root-certificate', 'root/root.crt', '--root-key', 'root/root.key'];
  const sign = (request: string, out: string, ...more: string[]): Promise<Outcome> =>
    ca('sign-request', ...signer, '--request', request, '--out', out, '--yes', ...more);
  const request = async (name: string, subject = 'kubernetes-ca'): Promise<void> => {
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    writeFileSync(path(name), toPem('CERTIFICATE REQUEST', await createCaCsr(signerFor(privateKey), subject, 'b2')));
  };

  before(async () => {
    writeFileSync(path('pass'), `${passphrase}\n`, { mode: 0o600 });
    await request('good.csr');
    const { exitCode, err } = await ca('init-root', '--out', 'root', '--common-name', 'demo cluster-ca root');
    assert.equal(exitCode, 0, err);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is made with a key that its passphrase opens, for its owner alone, and lives twenty years', () => {
    const info = parseCertificate(certificate('root/root.crt'));
    assert.match(info.subject, /^CN=demo cluster-ca root,serialNumber=[0-9a-f]{8}$/);
    assert.deepEqual([info.isCa, info.issuer, info.notAfter.getTime()], [true, info.subject, now + 7305 * dayMs]);
    assert.equal(privateKeyFromPem(text('root/root.key'), passphrase).type, 'private');
    assert.deepEqual([statSync(path('root')).mode & 0o777, statSync(path('root/root.key')).mode & 0o777], [0o700, 0o600]);
  });

  it('is never written over', async () => {
    const before = text('root/root.key');
    const { exitCode, err } = await ca('init-root', '--out', 'root', '--common-name', 'another');
    assert.deepEqual([exitCode, text('root/root.key')], [5, before]);
    assert.match(err, /is there already/);
  });

  it("signs a CA's request, shows what it signs, and writes it with all above it", async () => {
    const { exitCode, out, err } = await sign('good.csr', 'good.pem');
    assert.equal(exitCode, 0, err);
    const [own, root, ...more] = certificatesFromPem(text('good.pem'));
    assert.deepEqual([root, more.length], [certificate('root/root.crt'), 0]);
    const info = parseCertificate(own!);
    assert.deepEqual(
      [info.subject, info.isCa, info.pathLength, info.notAfter.getTime()],
      ['CN=kubernetes-ca,serialNumber=b2', true, 0, now + 1826 * dayMs],
    );
    verifyChain({ chain: [own!], anchors: [root!], atMs: now });
    for (const shown of [info.subject, publicKeyPin(own!), info.serial]) assert.ok(err.includes(shown), `${err} lacks ${shown}`);
    assert.match(out, /^signed CN=kubernetes-ca/);
  });

  it('asks before it signs, and signs nothing but for a yes', async () => {
    const args = ['ca', 'sign-request', ...signer, '--request', 'good.csr', '--out', 'asked.pem'];
    for (const [answers, exitCode] of [
      [[passphrase, 'no'], 2],
      [[passphrase, ''], 2],
      [[passphrase, 'yes'], 0],
    ] as const)
      assert.equal((await run(args, { cwd: folder, answers: [...answers] })).exitCode, exitCode);
    assert.equal(certificatesFromPem(text('asked.pem')).length, 2);
  });

  it('signs nothing without a terminal, unless it is told to', async () => {
    const args = ['ca', 'sign-request', ...signer, '--request', 'good.csr', '--out', 'silent.pem'];
    const { exitCode, err } = await run([...args, '--passphrase-file', 'pass'], { cwd: folder });
    assert.equal(exitCode, 2);
    assert.match(err, /--yes/);
    assert.match((await run(args, { cwd: folder })).err, /--passphrase-file/);
  });

  it('lives no longer than its root, and for a lifetime that was asked for not a day less', async () => {
    assert.equal((await sign('good.csr', 'long.pem', '--lifetime', '8000d')).exitCode, 6);
    assert.equal((await ca('init-root', '--out', 'short', '--common-name', 'short root', '--lifetime', '100d')).exitCode, 0);
    const short = ['--root-certificate', 'short/root.crt', '--root-key', 'short/root.key'];
    assert.equal((await ca('sign-request', ...short, '--request', 'good.csr', '--out', 'short.pem', '--yes')).exitCode, 0);
    assert.equal(parseCertificate(certificate('short.pem')).notAfter.getTime(), now + 100 * dayMs);
  });

  it('lets another CA stand between where it is asked to, and keeps to the path length of that', async () => {
    await request('middle.csr', 'middle');
    assert.equal((await sign('middle.csr', 'middle.pem')).exitCode, 0);
    assert.equal((await sign('middle.csr', 'wide.pem', '--path-length', '1')).exitCode, 0);
    assert.equal(parseCertificate(certificate('wide.pem')).pathLength, 1);
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    writeFileSync(path('own.csr'), toPem('CERTIFICATE REQUEST', await createCaCsr(signerFor(privateKey), 'narrow', 'n1')));
    assert.equal((await sign('own.csr', 'narrow.pem')).exitCode, 0);
    writeFileSync(path('narrow.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    const narrow = ['--root-certificate', 'narrow.pem', '--root-key', 'narrow.key', '--request', 'good.csr', '--out', 'deep.pem', '--yes'];
    const { exitCode, err } = await ca('sign-request', ...narrow);
    assert.equal(exitCode, 6);
    assert.match(err, /allows 0 CAs below it/);
  });

  describe('signs nothing', () => {
    const pem = async (contents: { dnsNames?: string[] }): Promise<string> =>
      toPem(
        'CERTIFICATE REQUEST',
        await createCsr({ privateKey: (await generateKeyPair('ecdsa-p384')).privateKey, commonName: 'x', ...contents }),
      );
    const damaged = (): string => {
      const [block] = pemBlocks(text('good.csr'));
      const der = Buffer.from(block!.der);
      der[der.length - 1]! ^= 1;
      return toPem('CERTIFICATE REQUEST', der);
    };
    for (const [what, content, why] of [
      ['that is no CA', () => pem({}), /CA:TRUE/],
      ['that names hosts', () => pem({ dnsNames: ['a.example'] }), /CA:TRUE|names hosts/],
      ['without proof of its key', damaged, /signature/],
      ['that is no request', () => text('root/root.crt'), /holds 0 requests/],
      ['of two requests at once', () => text('good.csr') + text('good.csr'), /holds 2 requests/],
      ['that is garbage', () => toPem('CERTIFICATE REQUEST', Buffer.from('garbage')), /cannot be read/],
    ] as const) {
      it(what, async () => {
        writeFileSync(path('bad.csr'), await content());
        const { exitCode, err } = await sign('bad.csr', 'bad.pem');
        assert.equal(exitCode, 2, err);
        assert.match(err, why);
        assert.throws(() => text('bad.pem'), /ENOENT/);
      });
    }

    it('with a wrong passphrase, a short one, one that others can read, or the key of another', async () => {
      const by = async (file: string, content: string, mode = 0o600): Promise<number> => {
        rmSync(path(file), { force: true });
        writeFileSync(path(file), content, { mode });
        const args = ['ca', 'sign-request', ...signer, '--request', 'good.csr', '--out', 'bad.pem', '--yes', '--passphrase-file', file];
        return (await run(args, { cwd: folder })).exitCode;
      };
      assert.equal(await by('wrong', 'another passphrase of a person'), 2);
      assert.equal(await by('brief', 'brief'), 6);
      assert.equal(await by('open', passphrase, 0o644), 6);
      writeFileSync(path('other.key'), (await generateKeyPair('ecdsa-p384')).privateKey.export({ type: 'pkcs8', format: 'pem' }));
      const other = [
        '--root-certificate',
        'root/root.crt',
        '--root-key',
        'other.key',
        '--request',
        'good.csr',
        '--out',
        'bad.pem',
        '--yes',
      ];
      assert.match((await ca('sign-request', ...other)).err, /is not the key of/);
    });
  });

  it('asks twice for a new passphrase, and makes nothing when the two differ', async () => {
    const args = ['ca', 'init-root', '--out', 'typed', '--common-name', 'typed root'];
    assert.equal((await run(args, { cwd: folder, answers: [passphrase, `${passphrase}!`] })).exitCode, 6);
    assert.throws(() => text('typed/root.key'), /ENOENT/);
    assert.equal((await run(args, { cwd: folder, answers: [passphrase, passphrase] })).exitCode, 0);
    assert.equal(privateKeyFromPem(text('typed/root.key'), passphrase).type, 'private');
  });

  it('signs its CRL: what is revoked by certificate or serial number, with what the list before held', async () => {
    await sign('good.csr', 'revoked.pem');
    const { serial } = parseCertificate(certificate('revoked.pem'));
    const other = newSerial();
    const list = (out: string, ...more: string[]): Promise<Outcome> => ca('sign-crl', ...signer, '--out', out, ...more);
    assert.equal((await list('one.crl', '--revoke', 'revoked.pem=cACompromise')).exitCode, 0);
    assert.equal((await list('two.crl', '--previous', 'one.crl', '--revoke', other, '--revoke', serial)).exitCode, 0);
    const { der } = pemBlocks(text('two.crl'))[0]!;
    await verifyCrl(der, certificate('root/root.crt'));
    const { revoked, nextUpdate } = parseCrl(der);
    assert.deepEqual(
      new Map(revoked.map((each) => [each.serial, each.reason])),
      new Map([
        [serial, 'cACompromise'],
        [other, 'unspecified'],
      ] as const),
    );
    assert.equal(nextUpdate?.getTime(), now + 365 * dayMs);
    assert.equal((await list('three.crl', '--revoke', 'short/root.crt')).exitCode, 2);
    assert.equal((await list('three.crl', '--revoke', `${other}=whim`)).exitCode, 2);
  });

  describe('and what it signed, given to a rotation', () => {
    const rotations = (...stages: string[]) =>
      stages.map((stage, index) =>
        CertificateAuthorityRotation.fromPartial({ id: `rot-${index}`, cluster: 'demo', certificateAuthority: 'cluster-ca', stage }),
      );
    const install = (api: ReturnType<typeof fakeApi>, file = 'good.pem'): Promise<Outcome> =>
      run(['ca', 'install', 'demo', '--ca', 'cluster-ca', '--certificate', file], { cwd: folder, api });

    it('goes to the one that awaits it', async () => {
      const api = fakeApi({
        listCertificateAuthorityRotations: () => ({ rotations: rotations('Completed', 'AwaitingCertificate') }),
        installCertificateAuthorityCertificate: () => ({ rotation: rotations('Spreading')[0]! }),
      });
      const { exitCode, out } = await install(api);
      assert.deepEqual([exitCode, out], [0, 'certificate of cluster-ca of cluster demo installed: rotation rot-1 is Spreading\n']);
      assert.deepEqual(api.calls[1], {
        method: 'installCertificateAuthorityCertificate',
        request: { id: 'rot-1', chainPem: text('good.pem') },
      });
    });

    it('is kept back when none awaits it, or when it is no certificate', async () => {
      const none = fakeApi({ listCertificateAuthorityRotations: () => ({ rotations: rotations('Reissuing') }) });
      assert.equal((await install(none)).exitCode, 6);
      const silent = fakeApi({});
      assert.equal((await install(silent, 'good.csr')).exitCode, 2);
      assert.deepEqual(silent.calls, []);
    });
  });
});
