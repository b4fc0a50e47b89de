import { mkdir, readFile, readlink, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { toEvercertError } from '@evercert/shared/errors';
import { errnoOf, replaceSymlinkDurable, syncDirectory, writeFileDurable } from '@evercert/shared/files';
import { certificatesFromPem, certificatesToPem, parseCertificate, privateKeyToPem, verifyChain } from '@evercert/shared/x509';
import { stringify } from 'yaml';
import type { ControlCa } from '../ca/control-ca.ts';
import type { OwnCertificate } from './own-identity.ts';

/**
 * The local admin's credential: `<dataDir>/admin/{ca.crt,admin.crt,admin.key,config.yaml}`. `admin` is a symlink to a versioned folder, so that certificate and key change together.
 */
export class AdminCredential {
  readonly #dataDir: string;
  readonly #controlCa: Pick<ControlCa, 'anchors' | 'record'>;
  readonly #address: string;

  constructor(options: { dataDir: string; controlCa: Pick<ControlCa, 'anchors' | 'record'>; address: string }) {
    this.#dataDir = options.dataDir;
    this.#controlCa = options.controlCa;
    this.#address = options.address;
  }

  get folder(): string {
    return join(this.#dataDir, 'admin');
  }

  /** What is there, if it is by the present control CA, beside all roots that are trusted now, not expired and for this address; undefined: make a new one. */
  async current(nowMs: number): Promise<{ serial: string; notBeforeMs: number; notAfterMs: number } | undefined> {
    try {
      const [certificate] = certificatesFromPem(await readFile(join(this.folder, 'admin.crt')));
      const config = await readFile(join(this.folder, 'config.yaml'), 'utf8');
      const roots = await readFile(join(this.folder, 'ca.crt'), 'utf8');
      if (!certificate || config !== this.#config() || roots !== certificatesToPem(this.#controlCa.anchors())) return undefined;
      const issuer = Buffer.from(this.#controlCa.record.certificate, 'base64');
      verifyChain({ chain: [certificate], anchors: [issuer], atMs: nowMs, usage: 'client auth' });
      const { serial, notBefore, notAfter } = parseCertificate(certificate);
      return { serial, notBeforeMs: notBefore.getTime(), notAfterMs: notAfter.getTime() };
    } catch {
      // Missing, damaged or expired: all of them end in a new one.
      return undefined;
    }
  }

  async install({ certificate, privateKey, serial }: OwnCertificate): Promise<void> {
    const version = join('admin-versions', serial.slice(0, 16));
    const folder = join(this.#dataDir, version);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFileDurable(join(folder, 'ca.crt'), certificatesToPem(this.#controlCa.anchors()), { mode: 0o644 });
    await writeFileDurable(join(folder, 'admin.crt'), certificatesToPem([certificate]), { mode: 0o644 });
    await writeFileDurable(join(folder, 'admin.key'), privateKeyToPem(privateKey), { mode: 0o600 });
    await writeFileDurable(join(folder, 'config.yaml'), this.#config(), { mode: 0o600 });
    await syncDirectory(dirname(folder));
    const before = await readlink(this.folder).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw toEvercertError(error, 'FileSystem', `cannot read the link ${this.folder}`);
    });
    await replaceSymlinkDurable(this.folder, version);
    if (before && before !== version) await rm(join(this.#dataDir, before), { recursive: true, force: true });
  }

  #config(): string {
    const context = {
      name: 'local',
      server: this.#address,
      certificateAuthority: 'ca.crt',
      clientCertificate: 'admin.crt',
      clientKey: 'admin.key',
    };
    return stringify({ currentContext: context.name, contexts: [context] });
  }
}
