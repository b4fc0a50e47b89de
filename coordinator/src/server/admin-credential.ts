import { mkdir, readFile, readlink, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { toEvercertError } from '@evercert/shared/errors';
import { errnoOf, replaceSymlinkDurable, syncDirectory, writeFileDurable } from '@evercert/shared/files';
import { certificatesFromPem, certificatesToPem, parseCertificate, privateKeyToPem, verifyChain } from '@evercert/shared/x509';
import { parse, stringify } from 'yaml';
import type { ControlCa } from '../ca/control-ca.ts';
import type { OwnCertificate } from './own-identity.ts';

/** As the contexts file has it. */
const mostOthers = 16;

/**
 * The local admin's credential: `<dataDir>/admin/{ca.crt,admin.crt,admin.key,config.yaml}`. `admin` is a symlink to a versioned folder, so that certificate and key change together.
 */
export class AdminCredential {
  readonly #dataDir: string;
  readonly #controlCa: Pick<ControlCa, 'anchors' | 'record'>;
  readonly #address: string;
  /** Other coordinators of the same store, as they were written last; undefined: an earlier process wrote whatever is there. */
  #others: readonly string[] | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: { dataDir: string; controlCa: Pick<ControlCa, 'anchors' | 'record'>; address: string }) {
    this.#dataDir = options.dataDir;
    this.#controlCa = options.controlCa;
    this.#address = options.address;
  }

  get folder(): string {
    return join(this.#dataDir, 'admin');
  }

  /**
   * `HOST:PORT` of all coordinators that serve: the context names them beside this one, so that the admin's commands find another while this one is away. Errors: DiskFull, FileSystem.
   */
  tellOthers(endpoints: readonly string[]): Promise<void> {
    const others = endpoints
      .filter((endpoint) => endpoint !== this.#address)
      .slice(0, mostOthers)
      .sort();
    const done = this.#writing.then(async () => {
      if (others.join() === this.#others?.join()) return;
      this.#others = others;
      await writeFileDurable(join(this.folder, 'config.yaml'), this.#config(), { mode: 0o600 });
    });
    // Whoever comes next does not fail by this one.
    this.#writing = done.catch(() => undefined);
    return done;
  }

  /** What is there, if it is by the present control CA, beside all roots that are trusted now, not expired and for this address; undefined: make a new one. */
  async current(nowMs: number): Promise<{ serial: string; notBeforeMs: number; notAfterMs: number } | undefined> {
    try {
      const [certificate] = certificatesFromPem(await readFile(join(this.folder, 'admin.crt')));
      const config = await readFile(join(this.folder, 'config.yaml'), 'utf8');
      const roots = await readFile(join(this.folder, 'ca.crt'), 'utf8');
      if (!certificate || !this.#isFor(config) || roots !== certificatesToPem(this.#controlCa.anchors())) return undefined;
      const issuer = Buffer.from(this.#controlCa.record.certificate, 'base64');
      verifyChain({ chain: [certificate], anchors: [issuer], atMs: nowMs, usage: 'client auth' });
      const { serial, notBefore, notAfter } = parseCertificate(certificate);
      return { serial, notBeforeMs: notBefore.getTime(), notAfterMs: notAfter.getTime() };
    } catch {
      // Missing, damaged or expired: all of them end in a new one.
      return undefined;
    }
  }

  install(made: OwnCertificate): Promise<void> {
    const done = this.#writing.then(() => this.#install(made));
    this.#writing = done.catch(() => undefined);
    return done;
  }

  async #install({ certificate, privateKey, serial }: OwnCertificate): Promise<void> {
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

  /** It is the context of this coordinator, whatever others it names. */
  #isFor(config: string): boolean {
    const { contexts } = parse(config) as { contexts?: { endpoints?: string[] }[] };
    const endpoints = contexts?.[0]?.endpoints ?? [];
    return config === this.#config(endpoints);
  }

  #config(others = this.#others ?? []): string {
    const context = {
      name: 'local',
      server: this.#address,
      ...(others.length > 0 && { endpoints: [...others] }),
      certificateAuthority: 'ca.crt',
      clientCertificate: 'admin.crt',
      clientKey: 'admin.key',
    };
    return stringify({ currentContext: context.name, contexts: [context] });
  }
}
