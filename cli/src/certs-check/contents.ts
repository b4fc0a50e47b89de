import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoOf } from '@evercert/shared/files';
import { parseCertificate, pemBlocks, privateKeyFromPem, spkiSha256, toPem } from '@evercert/shared/x509';
import { isKubeconfig, readKubeconfig } from './kubeconfig.ts';
import {
  checkLimits,
  type FoundCertificate,
  type FoundKey,
  type FoundPublicKey,
  type PairReference,
  type PathProblem,
  type WalkedFile,
} from './types.ts';
import { isPkiName } from './walk.ts';

/** What one file holds. */
export interface Contents {
  certificates: FoundCertificate[];
  keys: FoundKey[];
  publicKeys: FoundPublicKey[];
  references: PairReference[];
  problems: PathProblem[];
}

export function emptyContents(): Contents {
  return { certificates: [], keys: [], publicKeys: [], references: [], problems: [] };
}

/** Reads and sorts one file. Files that hold nothing of the kind come out empty; those that should and do not come out with a problem. */
export async function readContents(file: WalkedFile): Promise<Contents> {
  const { path } = file;
  if (file.size > checkLimits.fileBytes) {
    return isPkiName(path) ? problem(path, 'TooLarge', `${file.size} bytes, expected at most ${checkLimits.fileBytes}`) : emptyContents();
  }
  let bytes: Buffer;
  try {
    await using handle = await open(file.realPath, constants.O_RDONLY | constants.O_NONBLOCK);
    bytes = await handle.readFile();
  } catch (error) {
    // Whatever it is, a check that could not look at it cannot call the folder well.
    const why = errnoOf(error) === 'EACCES' ? 'permission denied: run the check as a user that may read it' : (error as Error).message;
    return problem(path, 'Unreadable', why);
  }
  return classify(file, bytes);
}

/** Sorts a file's bytes; pure. */
export function classify(file: WalkedFile, bytes: Buffer): Contents {
  const text = bytes.toString('latin1');
  if (isKubeconfig(text)) return readKubeconfig(file, bytes.toString('utf8'), { readPem, asKeys });
  if (text.includes('-----BEGIN ')) return readPem(file, file.path, text);
  if (bytes[0] === 0x30 && /\.(crt|cer|cert|der)$/i.test(file.path)) return readDer(file, bytes);
  if (!isPkiName(file.path)) return emptyContents();
  return problem(file.path, 'Malformed', bytes.length === 0 ? 'the file is empty' : 'there is no PEM block in it');
}

function problem(path: string, code: PathProblem['code'], message: string): Contents {
  return { ...emptyContents(), problems: [{ path, code, message }] };
}

const certificateLabels = new Set(['CERTIFICATE', 'X509 CERTIFICATE', 'TRUSTED CERTIFICATE']);

/** Certificates and keys of a PEM text; `slot` tells what belongs together. */
function readPem(file: WalkedFile, slot: string, text: string): Contents {
  const contents = emptyContents();
  try {
    const blocks = pemBlocks(text);
    const ders = blocks.filter(({ label }) => certificateLabels.has(label)).map(({ der }) => der);
    contents.certificates = asCertificates(file.path, slot, ders);
    contents.keys = asKeys(file, slot, text, blocks);
    for (const { label, der } of blocks) {
      if (label === 'PUBLIC KEY') contents.publicKeys.push({ path: file.path, spkiSha256: spkiSha256(der) });
    }
  } catch (error) {
    contents.problems.push({ path: file.path, code: 'Malformed', message: (error as Error).message });
  }
  return contents;
}

function readDer(file: WalkedFile, bytes: Buffer): Contents {
  try {
    return { ...emptyContents(), certificates: asCertificates(file.path, file.path, [bytes]) };
  } catch (error) {
    return problem(file.path, 'Malformed', (error as Error).message);
  }
}

/** A leaf with its chain is one entry; CAs (a bundle) and further leaves are entries of their own. */
function asCertificates(path: string, slot: string, ders: readonly Buffer[]): FoundCertificate[] {
  const infos = ders.map((der) => parseCertificate(der));
  const startsWithLeaf = infos[0]?.isCa === false;
  return infos.map((info, at) => ({
    path,
    slot,
    info,
    following: ders.slice(at + 1),
    listed: at === 0 || !startsWithLeaf || !info.isCa,
    embeddedCa: false,
  }));
}

function asKeys(file: WalkedFile, slot: string, text: string, blocks = pemBlocks(text)): FoundKey[] {
  return blocks
    .filter(({ label }) => label.endsWith('PRIVATE KEY'))
    .map(({ label, der }) => {
      const encrypted = label.startsWith('ENCRYPTED') || /^Proc-Type:.*ENCRYPTED/m.test(text);
      const fingerprint = encrypted ? undefined : spkiSha256(privateKeyFromPem(toPem(label, der)));
      return { path: file.path, slot, mode: file.mode, spkiSha256: fingerprint };
    });
}
