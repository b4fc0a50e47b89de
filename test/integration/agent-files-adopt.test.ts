import assert from 'node:assert/strict';
import { chmodSync, lstatSync, readdirSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CertificateFiles, FoundPair } from '@evercert/agent/files';
import type { OutputSpec } from '@evercert/shared/manifest';
import { certificatesToPem, generateKeyPair, parseCertificate, privateKeyToPem } from '@evercert/shared/x509';
import { stringify } from 'yaml';
import { certificateSpec, createTestCa, installNew, outputs, pki, startMs, type TestCa, TestDisk } from '../support/pair.ts';
import { type ChildAction, writeChildInput } from '../support/pair-child.ts';
import { run } from '../support/tools.ts';

/** For arrangements of two steps in one expression. */
const both = (..._steps: unknown[]): void => undefined;

const terms = { adoptedAtMs: startMs, renewAtMs: startMs + 3_600_000 };

describe('A pair that was there before the agent', () => {
  let ca: TestCa;
  let other: TestCa;
  let disk: TestDisk;
  let files: CertificateFiles;

  before(async () => {
    ca = await createTestCa();
    other = await createTestCa('other-ca');
  });
  beforeEach(() => {
    disk = new TestDisk();
    files = disk.files();
  });
  afterEach(() => disk.remove());

  interface Made {
    certificate: string;
    key: string;
    serial: string;
  }

  /** As kubeadm would have made it: of another kind, saying other things than the specification. */
  async function made(by = ca, times = {}): Promise<Made> {
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const spec = certificateSpec([], {
      commonName: 'kubernetes-admin',
      organizations: ['system:masters'],
      keyAlgorithm: 'ecdsa-p256',
      dnsNames: [],
    });
    const [der] = await by.issue(spec, privateKey, times);
    return {
      certificate: certificatesToPem([der!]),
      key: privateKey.export({ type: 'sec1', format: 'pem' }).toString(),
      serial: parseCertificate(der!).serial,
    };
  }

  function writePem({ certificate, key }: Made): void {
    disk.write(`${pki}/apiserver.crt`, certificate);
    disk.write(`${pki}/apiserver.key`, key, 0o600);
  }

  const kubeconfig = ({ certificate, key }: Made): string => {
    const base64 = (pem: string): string => Buffer.from(pem).toString('base64');
    return stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'kubernetes', cluster: { server: 'https://10.0.0.5:6443' } }],
      contexts: [{ name: 'me', context: { cluster: 'kubernetes', user: 'me' } }],
      'current-context': 'me',
      users: [
        { name: 'someone', user: { token: 'x' } },
        { name: 'me', user: { 'client-certificate-data': base64(certificate), 'client-key-data': base64(key) } },
      ],
    });
  };

  async function found(outputsOf: OutputSpec[]): Promise<FoundPair> {
    const look = await files.findInPlace(certificateSpec(outputsOf), [ca.der]);
    assert.ok('found' in look, JSON.stringify(look));
    return look.found;
  }

  async function adopt(outputsOf: OutputSpec[], pair: Made) {
    const spec = certificateSpec(outputsOf);
    const adopted = await files.adopt(spec, await found(outputsOf), terms);
    assert.equal(adopted.serial, pair.serial);
    return spec;
  }

  /** Inode, time and content of everything below /etc and /var. */
  function snapshot(): string {
    const entries = ['/etc', '/var'].flatMap((top) =>
      readdirSync(disk.real(top), { recursive: true, encoding: 'utf8' }).map((path) => join(top, path)),
    );
    return JSON.stringify(
      // The disk of the test itself writes the password anew each time that it is opened.
      entries
        .filter((path) => !path.endsWith('p12-password'))
        .sort()
        .map((path) => {
          const { ino, mtimeMs, ctimeMs, mode } = lstatSync(disk.real(path));
          return [path, ino, lstatSync(disk.real(path)).isFile() ? [mtimeMs, ctimeMs, mode, readFileSync(disk.real(path), 'utf8')] : 0];
        }),
    );
  }

  const forms: [string, OutputSpec[], (pair: Made) => void, string[]][] = [
    ['a pem pair', [outputs.pem], writePem, [`${pki}/apiserver.crt`, `${pki}/apiserver.key`]],
    [
      'one file with both',
      [outputs.combined],
      ({ certificate, key }) => disk.write(`${pki}/both.pem`, certificate + key, 0o600),
      [`${pki}/both.pem`],
    ],
    [
      "kubelet's dated file behind its symlink",
      [outputs.dated],
      ({ certificate, key }) => {
        disk.write('/var/lib/kubelet/pki/kubelet-client-2026-01-01-00-00-00.pem', certificate + key, 0o600);
        symlinkSync('kubelet-client-2026-01-01-00-00-00.pem', disk.real('/var/lib/kubelet/pki/kubelet-client-current.pem'));
      },
      ['/var/lib/kubelet/pki/kubelet-client-current.pem'],
    ],
    [
      'a kubeconfig that embeds it, where file references are declared',
      [outputs.pem, outputs.references],
      (pair) => disk.write('/etc/kubernetes/scheduler.conf', kubeconfig(pair), 0o600),
      ['/etc/kubernetes/scheduler.conf'],
    ],
  ];
  for (const [what, outputsOf, write, paths] of forms) {
    it(`is adopted from ${what}: no file changes, an inspection finds no fault, and a restart knows it`, async () => {
      const pair = await made();
      write(pair);
      const before = snapshot();
      assert.deepEqual((await found(outputsOf)).paths, paths);
      const spec = await adopt(outputsOf, pair);
      assert.deepEqual(await files.inspect(spec, [ca.der]), []);
      assert.deepEqual(await files.restore(spec, [ca.der]), []);
      const next = disk.files();
      assert.deepEqual(await next.recover(), []);
      const installed = await next.installed(spec.name);
      assert.deepEqual([installed?.serial, installed?.issuedAtMs, installed?.adopted?.renewAtMs], [pair.serial, startMs, terms.renewAtMs]);
      assert.equal(snapshot(), before);
    });

    it(`gives way to its first renewal from ${what}, in the form that is declared`, async () => {
      const pair = await made();
      write(pair);
      const spec = await adopt(outputsOf, pair);
      const renewed = await installNew(files, ca, spec);
      assert.notEqual(renewed.serial, pair.serial);
      assert.equal((await files.installed(spec.name))?.adopted, undefined);
      assert.deepEqual(await files.inspect(spec, [ca.der]), []);
    });
  }

  it('is not found where it cannot be used, and what is wrong is told', async () => {
    const good = await made();
    const cases: [string, () => Promise<void> | void, RegExp | undefined][] = [
      ['nothing is there', () => {}, undefined],
      [
        'the key is gone',
        () => both(writePem(good), unlinkSync(disk.real(`${pki}/apiserver.key`))),
        /apiserver.crt: there is no private key for it/,
      ],
      [
        'the key is of another',
        async () => both(writePem(good), disk.write(`${pki}/apiserver.key`, (await made()).key, 0o600)),
        /is that of another certificate/,
      ],
      ['it is of another CA', async () => writePem(await made(other)), /which is not trusted/],
      [
        'it has ended',
        async () => writePem(await made(ca, { notBeforeMs: startMs - 7200_000, notAfterMs: startMs - 3600_000 })),
        /it ended at/,
      ],
      ['it is a CA', () => disk.write(`${pki}/apiserver.crt`, certificatesToPem([ca.der])), /apiserver.crt: /],
      ['it is garbage', () => both(writePem(good), disk.write(`${pki}/apiserver.crt`, 'garbage')), undefined],
      [
        'it lies behind a symlink that leads out',
        () => {
          disk.write('/elsewhere.crt', good.certificate);
          unlinkSync(disk.real(`${pki}/apiserver.crt`));
          symlinkSync(disk.real('/elsewhere.crt'), disk.real(`${pki}/apiserver.crt`));
        },
        undefined,
      ],
    ];
    for (const [what, arrange, why] of cases) {
      await arrange();
      const look = await files.findInPlace(certificateSpec([outputs.pem]), [ca.der]);
      assert.ok(!('found' in look), what);
      if (why) assert.match(look.why ?? '', why, what);
      else assert.equal(look.why, undefined, what);
    }
  });

  it('is put right in the declared form when its files are damaged, and is an installed one like others from then on', async () => {
    const pair = await made();
    writePem(pair);
    const spec = await adopt([outputs.pem], pair);
    writeFileSync(disk.real(`${pki}/apiserver.crt`), 'something else');
    assert.deepEqual(
      (await files.inspect(spec, [ca.der])).map(({ path, reason }) => [path, reason]),
      [[`${pki}/apiserver.crt`, 'Foreign']],
    );
    assert.equal((await files.restore(spec, [ca.der])).length, 1);
    assert.equal(disk.read(`${pki}/apiserver.crt`), pair.certificate);
    assert.deepEqual(await files.inspect(spec, [ca.der]), []);
    const installed = await files.installed(spec.name);
    assert.deepEqual([installed?.serial, installed?.adopted], [pair.serial, undefined]);
  });

  it('has a key that everybody can read closed, and nothing else about the file changed', async () => {
    const pair = await made();
    writePem(pair);
    chmodSync(disk.real(`${pki}/apiserver.key`), 0o644);
    const spec = await adopt([outputs.pem], pair);
    const { ino } = lstatSync(disk.real(`${pki}/apiserver.key`));
    const [fault] = await files.restore(spec, [ca.der]);
    assert.deepEqual([fault?.path, fault?.reason], [`${pki}/apiserver.key`, 'WrongMode']);
    assert.deepEqual([disk.mode(`${pki}/apiserver.key`), lstatSync(disk.real(`${pki}/apiserver.key`)).ino], [0o640, ino]);
    assert.ok((await files.installed(spec.name))?.adopted);
  });

  it('is found again at its files when the copy in the state folder is damaged', async () => {
    const pair = await made();
    writePem(pair);
    const spec = await adopt([outputs.pem], pair);
    const key = join(disk.stateDir, 'certificates', spec.name, 'installed', 'key.pem');
    writeFileSync(key, 'damaged');
    assert.equal((await disk.files().installed(spec.name))?.serial, pair.serial);
    assert.equal(privateKeyToPem((await files.installed(spec.name))!.privateKey).length > 0, true);
  });

  it('stays where it is when its certificate is declared no more, and moves when it is declared elsewhere', async () => {
    const pair = await made();
    writePem(pair);
    const spec = await adopt([outputs.pem], pair);
    const moved = { ...spec, outputs: [outputs.combined] };
    assert.ok((await files.restore(moved, [ca.der])).length > 0);
    assert.match(disk.read(`${pki}/both.pem`), /BEGIN CERTIFICATE[\s\S]*BEGIN PRIVATE KEY/);
    assert.equal(disk.read(`${pki}/apiserver.crt`), pair.certificate);
    await files.remove(spec.name);
    assert.equal(disk.read(`${pki}/apiserver.crt`), pair.certificate);
  });

  describe('and a crash', () => {
    const child = fileURLToPath(new URL('../support/pair-child.ts', import.meta.url));
    const killedAt = async (action: ChildAction, point: string): Promise<boolean> =>
      (await run(process.execPath, [child, disk.folder, 'symlink', action], { env: { EVERCERT_FAULT_POINT: point } })).signal === 'SIGKILL';

    for (const point of ['state-pair.before', 'state-pair.after', 'commit.before', 'commit.after']) {
      it(`at ${point} of its adoption leaves its files alone, and it is adopted or can be`, async () => {
        const pair = await made();
        writePem(pair);
        const spec = certificateSpec([outputs.pem]);
        writeChildInput(disk, ca, spec);
        const before = snapshot();
        assert.equal(await killedAt('adopt', `agent.pair.${point}`), true);
        const next = disk.files();
        await next.recover();
        assert.equal(snapshot(), before);
        const installed = await next.installed(spec.name);
        assert.equal(installed?.serial, point === 'commit.after' ? pair.serial : undefined);
        files = next;
        await adopt([outputs.pem], pair);
      });
    }

    for (const point of [
      'journal.after',
      'state-pair.after',
      'commit.before',
      'commit.after',
      'switch.before',
      'switch.after',
      'clear-journal.before',
    ]) {
      it(`at ${point} of putting its damaged files right leaves a pair in use`, async () => {
        const pair = await made();
        writePem(pair);
        const spec = await adopt([outputs.pem], pair);
        writeChildInput(disk, ca, spec);
        writeFileSync(disk.real(`${pki}/apiserver.crt`), 'something else');
        assert.equal(await killedAt('restore', `agent.pair.${point}`), true);
        const next = disk.files();
        await next.recover();
        await next.restore(spec, [ca.der]);
        assert.deepEqual(await next.inspect(spec, [ca.der]), []);
        assert.equal(disk.read(`${pki}/apiserver.crt`), pair.certificate);
        assert.equal((await next.installed(spec.name))?.serial, pair.serial);
      });
    }
  });
});
