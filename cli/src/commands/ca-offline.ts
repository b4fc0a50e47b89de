import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { toFileError } from '@evercert/shared/files';
import {
  certificatesToPem,
  type KeyAlgorithm,
  keyAlgorithms,
  parseCertificate,
  publicKeyPin,
  spkiSha256,
  toPem,
} from '@evercert/shared/x509';
import { type Command, Option } from 'commander';
import { type Environment, line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { createOfflineRoot } from '../offline-root/create.ts';
import { absolute, mustBeNew, openOfflineCa, readRequest, writeNew } from '../offline-root/files.ts';
import { passphraseOf } from '../offline-root/passphrase.ts';
import { earlierEntries, revokedEntry, signCrl } from '../offline-root/revoke.ts';
import { type Review, reviewRequest, type SignOrder, signReviewed } from '../offline-root/sign.ts';
import { type CommandContext, collect, duration, wholeNumber } from './session.ts';

interface InitOptions {
  out: string;
  commonName: string;
  algorithm: KeyAlgorithm;
  lifetime: string;
  passphraseFile?: string;
}

interface SignerOptions {
  rootCertificate: string;
  rootKey: string;
  out: string;
  passphraseFile?: string;
}

interface SignOptions extends SignerOptions {
  request: string;
  lifetime?: string;
  pathLength: string;
  crlUrl?: string[];
  yes?: boolean;
}

interface CrlOptions extends SignerOptions {
  revoke?: string[];
  previous?: string;
  lifetime: string;
}

/** Twice the life of what it signs, and so long that it is made once. */
const rootLifetime = '7305d';
const intermediateLifetime = '1826d';
const crlLifetime = '365d';

const signExamples = `
Examples:
  evercert ca sign-request --root-certificate root/root.crt --root-key root/root.key --request cluster-ca.csr --out cluster-ca.pem
  # Then, where the coordinator can be reached
  evercert ca install demo --ca cluster-ca --certificate cluster-ca.pem`;

/** What an offline root is used for: on a machine of its own, which needs no coordinator and no network. */
export function addOfflineCommands(ca: Command, context: CommandContext): void {
  const { environment } = context;
  ca.command('init-root')
    .summary('make an offline root: needs no coordinator')
    .description(
      'Make a root CA for "evercert ca sign-request", on the machine that keeps it: root.crt and the encrypted root.key. Each CA of each cluster needs a root of its own: whoever trusts a root accepts what any CA under it issues.',
    )
    .requiredOption('--out <dir>', 'folder for root.crt and root.key; made when it is missing')
    .requiredOption('--common-name <name>', 'subject of the root, as "demo cluster-ca root"')
    .addOption(new Option('--algorithm <name>', 'of its key').choices(keyAlgorithms).default('ecdsa-p384'))
    .option('--lifetime <duration>', 'how long it lives', rootLifetime)
    .option('--passphrase-file <file>', 'file with the passphrase that encrypts the key (default: asked for)')
    .action((options: InitOptions) => initRoot(environment, options));
  signer(
    ca
      .command('sign-request')
      .summary("sign a CA's request by an offline root: needs no coordinator")
      .description(
        'Sign the request of a CA whose rotation awaits its certificate, and nothing else. Shows what it would sign and asks for a yes. The file that comes of it holds the certificate and all above it, the root last.',
      ),
  )
    .requiredOption('--request <file>', 'PKCS#10 request in PEM')
    .option('--lifetime <duration>', `how long the certificate lives (default: ${intermediateLifetime}, or as long as the root)`)
    .option('--path-length <number>', 'CAs that the new one may have below it', '0')
    .option('--crl-url <url>', "where the root's CRL is to be had; repeatable", collect)
    .option('--yes', 'sign without asking')
    .addHelpText('after', signExamples)
    .action((options: SignOptions) => signRequest(environment, options));
  signer(
    ca
      .command('sign-crl')
      .summary("sign an offline root's CRL: needs no coordinator")
      .description('Sign the list of all CAs under an offline root that are revoked; what the list before held stays when it is named.'),
  )
    .option('--revoke <what>', 'serial number, or PEM file of a certificate, with =REASON behind it if wanted; repeatable', collect)
    .option('--previous <file>', 'the CRL before this one, in PEM')
    .option('--lifetime <duration>', 'how long the list is good', crlLifetime)
    .action((options: CrlOptions) => signList(environment, options));
}

function signer(command: Command): Command {
  return command
    .requiredOption('--root-certificate <file>', 'PEM: the certificate that signs, then those above it')
    .requiredOption('--root-key <file>', 'its private key, as init-root made it')
    .requiredOption('--out <file>', 'file to write; it must not be there yet')
    .option('--passphrase-file <file>', 'file with the passphrase of the key (default: asked for)');
}

async function initRoot(environment: Environment, { out, commonName, algorithm, lifetime, passphraseFile }: InitOptions): Promise<void> {
  const folder = absolute(environment, out);
  const [certificatePath, keyPath] = [join(folder, 'root.crt'), join(folder, 'root.key')];
  const lifetimeMs = duration(lifetime, '--lifetime');
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw toFileError(error, 'make the folder', folder);
  });
  for (const path of [certificatePath, keyPath]) await mustBeNew(path);
  const passphrase = await passphraseOf(environment, { file: passphraseFile, isNew: true });
  const nowMs = environment.clock.nowMs();
  const uniqueAttribute = randomBytes(4).toString('hex');
  const { certificate, keyPem } = await createOfflineRoot({ commonName, uniqueAttribute, algorithm, nowMs, lifetimeMs, passphrase });
  await writeNew(keyPath, keyPem, 0o600);
  await writeNew(certificatePath, certificatesToPem([certificate]), 0o644);
  const { subject, notAfter } = parseCertificate(certificate);
  line(environment.out, `made the root "${subject}", good until ${notAfter.toISOString()}`);
  line(environment.out, `  certificate  ${certificatePath}`);
  line(environment.out, `  key          ${keyPath} (encrypted)`);
  line(environment.out, `  public key   ${publicKeyPin(certificate)}`);
  line(environment.err, 'Keep the key and its passphrase apart, each with a copy, and on no machine that a network reaches.');
}

async function signRequest(environment: Environment, options: SignOptions): Promise<void> {
  const pathLength = wholeNumber(options.pathLength, '--path-length', 0, 8);
  const lifetimeMs = duration(options.lifetime ?? intermediateLifetime, '--lifetime');
  const out = absolute(environment, options.out);
  await mustBeNew(out);
  const csr = await readRequest(absolute(environment, options.request));
  const ca = await openCa(environment, options);
  const nowMs = environment.clock.nowMs();
  const exactly = options.lifetime !== undefined;
  const order: SignOrder = { ca, csr, pathLength, nowMs, lifetimeMs, exactly, crlUrls: options.crlUrl ?? [] };
  const review = reviewRequest(order);
  for (const text of reviewLines(order, review)) line(environment.err, text);
  if (!options.yes && !(await confirmed(environment))) throw usageError('nothing was signed');
  const certificate = await signReviewed(order, review);
  await writeNew(out, certificatesToPem([certificate, ...ca.chain]), 0o644);
  line(environment.out, `signed ${review.subject} (serial ${review.serial}) until ${review.notAfter.toISOString()}: ${out}`);
}

function reviewLines({ ca, csr, pathLength, crlUrls }: SignOrder, { subject, serial, notBefore, notAfter }: Review): string[] {
  return [
    'A CA is to be signed:',
    `  subject      ${subject}`,
    `  key          ${csr.keyAlgorithm}, sha256:${spkiSha256(csr.spki)}`,
    `  signed by    ${ca.info.subject} (serial ${ca.info.serial})`,
    `  serial       ${serial}`,
    `  good from    ${notBefore.toISOString()} until ${notAfter.toISOString()}`,
    `  path length  ${pathLength}${pathLength === 0 ? ' (it signs no further CA)' : ''}`,
    ...crlUrls.map((url) => `  CRL          ${url}`),
  ];
}

async function confirmed({ ask }: Environment): Promise<boolean> {
  const answer = await ask?.('Is the key the one that the coordinator showed, and is this CA to be signed? (yes/no) ', { secret: false });
  if (answer === undefined) throw usageError('there is no terminal to ask for a yes: look at the request, then say --yes');
  return answer.trim().toLowerCase() === 'yes';
}

async function signList(environment: Environment, options: CrlOptions): Promise<void> {
  const lifetimeMs = duration(options.lifetime, '--lifetime');
  const out = absolute(environment, options.out);
  await mustBeNew(out);
  const ca = await openCa(environment, options);
  const nowMs = environment.clock.nowMs();
  const entries = options.previous === undefined ? [] : await earlierEntries(absolute(environment, options.previous), ca);
  for (const text of options.revoke ?? []) {
    const entry = await revokedEntry(text, ca, nowMs, (file) => absolute(environment, file));
    if (!entries.some(({ serial }) => serial === entry.serial)) entries.push(entry);
  }
  const crl = await signCrl(ca, entries, { nowMs, lifetimeMs });
  await writeNew(out, toPem('X509 CRL', crl), 0o644);
  line(
    environment.out,
    `signed the CRL of ${ca.info.subject}: ${entries.length} revoked, good until ${new Date(nowMs + lifetimeMs).toISOString()}: ${out}`,
  );
}

function openCa(environment: Environment, { rootCertificate, rootKey, passphraseFile }: SignerOptions) {
  const passphrase = () => passphraseOf(environment, { file: passphraseFile, isNew: false });
  return openOfflineCa(absolute(environment, rootCertificate), absolute(environment, rootKey), passphrase);
}
