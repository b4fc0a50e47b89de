/** A CA as a coordinator keeps it, with its generations and without the coordinator: for tests of what others think of its chains and CRLs. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runProgram } from '@evercert/cli';
import {
  Authorities,
  type AuthorityRecord,
  activated,
  intermediatesOf,
  issuingGeneration,
  retired,
  spread,
  withNext,
} from '@evercert/coordinator/ca';
import { openFileKeyProvider } from '@evercert/coordinator/keys';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import type { IssuerName } from '@evercert/shared/manifest';
import {
  certificatesToPem,
  createCrl,
  generateKeyPair,
  issueLeaf,
  type LeafProfile,
  newSerial,
  type PreparedIssuer,
  privateKeyToPem,
  spkiDer,
} from '@evercert/shared/x509';

export const offlinePassphrase = 'six random words of an offline root';
const hourMs = 3_600_000;

export interface IssuedLeaf {
  serial: string;
  /** DER, leaf first, without the root. */
  chain: Buffer[];
  chainPem: string;
  keyPem: string;
}

/** The command line, as a person at the offline machine runs it; throws what it printed when it fails. */
export async function evercert(folder: string, ...args: string[]): Promise<string> {
  const [out, err]: [string[], string[]] = [[], []];
  const exitCode = await runProgram(args, {
    clock: systemClock,
    env: {},
    cwd: folder,
    homeDir: folder,
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    readStdin: async () => '',
    connect: async () => {
      throw new Error('an offline machine reaches no coordinator');
    },
  });
  if (exitCode !== 0) throw new Error(`evercert ${args.join(' ')} ended with ${exitCode}: ${err.join('')}`);
  return out.join('');
}

export class RotatingCa {
  record: AuthorityRecord;
  readonly #authorities: Authorities;
  readonly #folder: string;

  private constructor(record: AuthorityRecord, authorities: Authorities, folder: string) {
    this.record = record;
    this.#authorities = authorities;
    this.#folder = folder;
  }

  static async create(folder: string, name: IssuerName): Promise<RotatingCa> {
    mkdirSync(folder, { recursive: true });
    const files = { directory: join(folder, 'keys'), passphraseFile: join(folder, 'keys-passphrase') };
    const keys = await openFileKeyProvider({ ...files, createPassphrase: true, logger: silentLogger });
    const authorities = new Authorities({ keys, clock: systemClock, backdateMs: 60_000 });
    return new RotatingCa(await authorities.create('demo', name, 'ecdsa-p384'), authorities, folder);
  }

  /** The next generation is a root of its own, and trusted. */
  async nextRoot(): Promise<void> {
    this.record = spread(withNext(this.record, await this.#authorities.createNext(this.record, 'ecdsa-p384')));
  }

  /** The next generation is signed by an offline root, made where it is missing, and trusted; PEM of what was signed. */
  async nextIntermediate(): Promise<string> {
    const path = (name: string): string => join(this.#folder, name);
    const passphrase = ['--passphrase-file', path('passphrase')];
    if (!(await readFile(path('root/root.crt')).catch(() => undefined))) {
      writeFileSync(path('passphrase'), `${offlinePassphrase}\n`, { mode: 0o600 });
      await evercert(this.#folder, 'ca', 'init-root', '--out', 'root', '--common-name', `demo ${this.record.name} root`, ...passphrase);
    }
    const request = await this.#authorities.createRequest(this.record, 'ecdsa-p384');
    const [csr, pem] = [`${newSerial()}.csr`, `${newSerial()}.pem`];
    writeFileSync(path(csr), request.pem);
    const root = ['--root-certificate', 'root/root.crt', '--root-key', 'root/root.key'];
    await evercert(this.#folder, 'ca', 'sign-request', ...root, '--request', csr, '--out', pem, '--yes', ...passphrase);
    const chainPem = await readFile(path(pem), 'utf8');
    const next = await this.#authorities.acceptCertificate(this.record, request, chainPem, []);
    this.record = spread(withNext(this.record, next));
    return chainPem;
  }

  activate(): void {
    const nowMs = systemClock.nowMs();
    this.record = activated(this.record, { nowMs, lastLeafNotAfterMs: nowMs + 96 * hourMs });
  }

  retire(): void {
    this.record = retired(this.record, systemClock.nowMs());
  }

  /** What nodes trust, PEM. */
  bundlePem(): string {
    return certificatesToPem(this.record.bundle.map((der) => Buffer.from(der, 'base64')));
  }

  /** Of the current generation. */
  issuer(serial = this.record.serial): Promise<PreparedIssuer> {
    const generation = issuingGeneration(this.record, { issuerSerial: serial });
    if (!generation) throw new Error(`there is no generation ${serial}`);
    return this.#authorities.issuer({ cluster: 'demo', name: this.record.name, ...generation });
  }

  async issue(profile: Partial<LeafProfile>, lifetimeMs = 96 * hourMs): Promise<IssuedLeaf> {
    const { privateKey, publicKey } = await generateKeyPair('ecdsa-p384');
    const nowMs = systemClock.nowMs();
    const serial = newSerial();
    const nothing = { commonName: '', organizations: [], dnsNames: [], ipAddresses: [], uris: [], usages: [] };
    const certificate = await issueLeaf(await this.issuer(), {
      spki: spkiDer(publicKey),
      keyAlgorithm: 'ecdsa-p384',
      profile: { ...nothing, ...profile },
      serial,
      notBefore: new Date(nowMs - 60_000),
      notAfter: new Date(nowMs + lifetimeMs),
    });
    const chain = [certificate, ...intermediatesOf(this.record)];
    return { serial, chain, chainPem: certificatesToPem(chain), keyPem: privateKeyToPem(privateKey) };
  }

  /** DER, by the key of a generation. */
  async crl(by: string, revoked: readonly string[]): Promise<Buffer> {
    const nowMs = systemClock.nowMs();
    return await createCrl({
      issuer: await this.issuer(by),
      number: nowMs,
      thisUpdate: new Date(nowMs - 60_000),
      nextUpdate: new Date(nowMs + hourMs),
      revoked: revoked.map((serial) => ({ serial, revokedAt: new Date(nowMs - 1000), reason: 'keyCompromise' })),
    });
  }
}
