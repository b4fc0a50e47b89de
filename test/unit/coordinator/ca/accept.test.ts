import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AuthorityRecord, acceptedGeneration, type OfferedCertificate } from '@evercert/coordinator/ca';
import { systemClock } from '@evercert/shared/clock';
import {
  type CaCertificateRequest,
  type CertificateSigner,
  certificatesFromPem,
  certificatesToPem,
  createCaCsr,
  generateKeyPair,
  issueCa,
  newSerial,
  parseCertificate,
  parseCsr,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
  toPem,
} from '@evercert/shared/x509';
import { needTool } from '../../../support/tools.ts';
import { at, type Ca, makeCa, startMs, withCode } from '../../shared/x509/fixtures.ts';
import { authority } from './records.ts';

describe('the certificate of an intermediate', () => {
  let root: Ca;
  let old: Ca;
  let signer: CertificateSigner;
  let csr: Buffer;
  let present: AuthorityRecord;

  before(async () => {
    [root, old] = await Promise.all([makeCa('demo root', 'r1'), makeCa('kubernetes-ca', 'a1')]);
    signer = signerFor((await generateKeyPair('ecdsa-p384')).privateKey);
    csr = await createCaCsr(signer, 'kubernetes-ca', 'b2');
    present = recordOf(old);
  });

  const recordOf = (ca: Ca, changes: Partial<AuthorityRecord> = {}): AuthorityRecord => {
    const certificate = ca.der.toString('base64');
    return authority({ serial: parseCertificate(ca.der).serial, certificate, bundle: [certificate], ...changes });
  };
  /** A certificate for our request. */
  const signed = (by: Ca = root, changes: Partial<CaCertificateRequest> = {}): Promise<Buffer> => {
    const { subject, spki } = parseCsr(csr);
    return issueCa(by.issuer, { subject, spki, pathLength: 0, serial: newSerial(), notBefore: at(0), notAfter: at(8760), ...changes });
  };
  /** A CA between the root and ours. */
  const middle = async (changes: Partial<CaCertificateRequest> = {}): Promise<Ca> => {
    const own = signerFor((await generateKeyPair('ecdsa-p384')).privateKey);
    const { subject } = parseCsr(await createCaCsr(own, 'middle', 'm1'));
    const common = { subject, spki: spkiDer(own.publicKey), serial: newSerial(), notBefore: at(0), notAfter: at(8000) };
    const der = await issueCa(root.issuer, { ...common, ...changes });
    return { der, signer: own, issuer: prepareIssuer(der, own) };
  };
  const offer = (chain: Buffer[], changes: Partial<OfferedCertificate> = {}): ReturnType<typeof acceptedGeneration> =>
    acceptedGeneration({
      authority: present,
      request: { keyId: 'demo/cluster-ca/b2', keyAlgorithm: 'ecdsa-p384', pem: toPem('CERTIFICATE REQUEST', csr) },
      spki: spkiDer(signer.publicKey),
      chainPem: certificatesToPem(chain),
      others: [],
      nowMs: startMs + 3_600_000,
      ...changes,
    });
  const refused = (chain: Buffer[], why: RegExp, changes: Partial<OfferedCertificate> = {}): void =>
    void assert.throws(() => offer(chain, changes), withCode('InvalidCertificate', why));

  it('makes the next generation, with its root and no chain of its own', async () => {
    const own = await signed();
    assert.deepEqual(offer([own, root.der]), {
      keyId: 'demo/cluster-ca/b2',
      keyAlgorithm: 'ecdsa-p384',
      serial: parseCertificate(own).serial,
      certificate: own.toString('base64'),
      notBeforeMs: at(0).getTime(),
      notAfterMs: at(8760).getTime(),
      root: root.der.toString('base64'),
    });
  });

  it('may stand under several CAs, in whatever order they are given; its end is that of the first of them to end', async () => {
    const between = await middle({ pathLength: 1 });
    const own = await signed(between, { notAfter: at(7000) });
    const generation = offer([root.der, own, between.der]);
    assert.deepEqual([generation.chain, generation.root], [[between.der.toString('base64')], root.der.toString('base64')]);
    const short = await middle({ notAfter: at(100) });
    // The signer does not look at it, whoever checks the chain does.
    const longer = prepareIssuer(short.der, short.signer);
    const { subject, spki } = parseCsr(csr);
    const outliving = await issueCa(
      { ...longer, notAfter: at(9000) },
      { subject, spki, serial: newSerial(), notBefore: at(0), notAfter: at(7000) },
    );
    assert.equal(offer([outliving, short.der, root.der]).notAfterMs, at(100).getTime());
  });

  it('may come without a root that nodes trust already', async () => {
    const own = await signed();
    const known = recordOf(old, { bundle: [...present.bundle, root.der.toString('base64')] });
    assert.equal(offer([own], { authority: known }).root, root.der.toString('base64'));
  });

  it('is refused for another key', async () => {
    const other = signerFor((await generateKeyPair('ecdsa-p384')).privateKey);
    refused([await signed(root, { spki: spkiDer(other.publicKey) }), root.der], /none of its certificates is for the key/);
  });

  it('is refused when there is no certificate, or garbage', () => {
    assert.throws(() => offer([], { chainPem: 'nothing' }), withCode('InvalidCertificate', /no certificate/));
    refused([], /cannot be read/, { chainPem: toPem('CERTIFICATE', Buffer.from('garbage')) });
  });

  it('is refused when what is above it is missing, does not belong to it, or is another of the same name', async () => {
    const own = await signed();
    refused([own], /whose certificate is missing/);
    refused([own, root.der, old.der], /does not belong to its chain/);
    refused([own, (await makeCa('demo root', 'r1')).der], /whose certificate is missing/);
  });

  it('is refused twice in one file', async () => {
    refused([await signed(), await signed(), root.der], /two of its certificates/);
  });

  it('is refused when it ended, or has not begun', async () => {
    refused([await signed(root, { notAfter: at(0.5) }), root.der], /ended at/);
    refused([await signed(root, { notBefore: at(2) }), root.der], /still to come/);
  });

  it('is refused when a CA above it allows none below', async () => {
    const narrow = await middle({ pathLength: 0 });
    refused([await signed(narrow, { notAfter: at(7000) }), narrow.der, root.der], /allows 0 CAs below it, but there are 1/);
  });

  it('is refused with the subject or the serial of an earlier generation', async () => {
    refused([await signed(root, { serial: present.serial }), root.der], /serial .* of an earlier/);
    const { subjectDer } = parseCertificate(old.der);
    refused([await signed(root, { subject: subjectDer }), root.der], /subject of an earlier/);
  });

  it('is refused under a root that another CA is trusted by, here or in another cluster', async () => {
    const own = await signed();
    const etcd = recordOf(root, { name: 'etcd-ca' });
    const elsewhere = recordOf(old, { cluster: 'prod', root: root.der.toString('base64') });
    for (const other of [etcd, elsewhere])
      refused([own, root.der], new RegExp(`trusted for ${other.name} of ${other.cluster} already`), { others: [other] });
    assert.ok(offer([own, root.der], { others: [present, recordOf(old, { name: 'etcd-ca' })] }));
  });

  describe('that openssl signed', () => {
    let folder: string;
    before(async function () {
      needTool(this, 'openssl');
      folder = mkdtempSync(join(tmpdir(), 'evercert-accept-'));
      writeFileSync(file('root.key'), privateKeyToPem((await generateKeyPair('rsa-3072')).privateKey));
      writeFileSync(file('ca.csr'), toPem('CERTIFICATE REQUEST', csr));
      writeFileSync(
        file('root.ext'),
        'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash',
      );
      openssl('req', '-new', '-key', 'root.key', '-subj', '/CN=openssl root', '-out', 'root.csr');
      openssl('x509', '-req', '-in', 'root.csr', '-key', 'root.key', '-extfile', 'root.ext', '-days', '3650', '-out', 'root.pem');
    });
    after(() => folder && rmSync(folder, { recursive: true, force: true }));

    const file = (name: string): string => join(folder, name);
    const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
    /** The request signed with these extensions, by a root of openssl's own. */
    const byOpenssl = (extensions: string, digest = 'sha256'): Buffer[] => {
      writeFileSync(file('ca.ext'), extensions);
      const by = ['-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-extfile', 'ca.ext', '-days', '365', `-${digest}`];
      openssl('x509', '-req', '-in', 'ca.csr', ...by, '-out', 'ca.pem');
      return ['ca.pem', 'root.pem'].flatMap((name) => certificatesFromPem(readFileSync(file(name))));
    };
    const good =
      'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid';
    const now = () => ({ nowMs: systemClock.nowMs() + 1000 });

    it('is taken', () => {
      assert.ok(offer(byOpenssl(good), now()).root);
    });

    for (const [what, extensions, why, digest] of [
      ['no CA', 'basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash', /CA:TRUE/],
      ['not for signing certificates', good.replace('keyCertSign,', ''), /keyCertSign/],
      ['not for signing CRLs', good.replace(',cRLSign', ''), /cRLSign/],
      ['for names of some kinds alone', `${good}\nnameConstraints=critical,permitted;DNS:example.org`, /name constraints/],
      ['for mail alone', `${good}\nextendedKeyUsage=emailProtection`, /restricted to other purposes/],
      ['for servers alone', `${good}\nextendedKeyUsage=serverAuth`, /restricted to other purposes/],
      ['signed with SHA-1', good, /signed with sha1WithRSAEncryption/, 'sha1'],
      [
        'without a subject key identifier',
        good.replace('subjectKeyIdentifier=hash\n', 'subjectKeyIdentifier=none\n'),
        /subject key identifier/,
      ],
    ] as const) {
      it(`is refused when it is ${what}`, () => {
        refused(byOpenssl(extensions, digest), why, now());
      });
    }
  });
});
