import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@evercert/shared/clock';
import {
  certificatesFromPem,
  createCaCsr,
  generateKeyPair,
  parseCrl,
  pemBlocks,
  signerFor,
  spkiSha256,
  toPem,
  verifyChain,
  verifyCrl,
} from '@evercert/shared/x509';
import { repositoryRoot, run } from '../support/tools.ts';

describe('what the documentation says of an offline root', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-docs-offline-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const page = readFileSync(join(repositoryRoot, 'docs', 'ca-rotation.md'), 'utf8');
  const blocks = [...page.matchAll(/<!-- offline -->\n```sh\n([\s\S]*?)```/g)].map((match) => match[1]!);
  const shell = async (script: string): Promise<string> => {
    const env = { PATH: `${join(repositoryRoot, 'node_modules', '.bin')}:${process.env['PATH']}`, HOME: folder };
    const { status, stdout, stderr } = await run('/bin/sh', ['-ec', script], { cwd: folder, env });
    assert.equal(status, 0, stderr);
    return stdout;
  };

  it('works as it is written, on a machine without a coordinator', async () => {
    assert.equal(blocks.length, 2);
    const { privateKey, publicKey } = await generateKeyPair('ecdsa-p384');
    writeFileSync(join(folder, 'passphrase'), 'six random words of a person\n', { mode: 0o600 });
    writeFileSync(
      join(folder, 'cluster-ca.csr'),
      toPem('CERTIFICATE REQUEST', await createCaCsr(signerFor(privateKey), 'kubernetes-ca', 'b2')),
    );
    for (const block of blocks) await shell(block);
    const [own, root] = certificatesFromPem(readFileSync(join(folder, 'cluster-ca.pem')));
    verifyChain({ chain: [own!], anchors: [root!], atMs: systemClock.nowMs() });
    const [{ der: crl }] = pemBlocks(readFileSync(join(folder, 'root-2.crl'))) as unknown as [{ der: Buffer }];
    await verifyCrl(crl, root!);
    assert.equal(parseCrl(crl).revoked.length, 1);
    const [, compare] = /`(openssl req -in cluster-ca\.csr [^`]*)`/.exec(page) ?? [];
    assert.equal((await shell(compare!)).split(' ')[0], spkiSha256(publicKey));
  });
});
