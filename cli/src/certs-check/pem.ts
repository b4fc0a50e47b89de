import { parseCertificate, pemBlocks, privateKeyFromPem, spkiSha256, toPem } from '@evercert/shared/x509';
import { type Contents, emptyContents, type FoundCertificate, type FoundKey, type WalkedFile } from './types.ts';

const certificateLabels = new Set(['CERTIFICATE', 'X509 CERTIFICATE', 'TRUSTED CERTIFICATE']);

/** Certificates and keys of a PEM text; `slot` tells what belongs together. */
export function readPem(file: WalkedFile, slot: string, text: string): Contents {
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

/** A leaf with its chain is one entry; CAs (a bundle) and further leaves are entries of their own. */
export function asCertificates(path: string, slot: string, ders: readonly Buffer[]): FoundCertificate[] {
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

/** An encrypted key is found, but cannot be compared. */
export function asKeys(file: WalkedFile, slot: string, text: string, blocks = pemBlocks(text)): FoundKey[] {
  return blocks
    .filter(({ label }) => label.endsWith('PRIVATE KEY'))
    .map(({ label, der }) => {
      const encrypted = label.startsWith('ENCRYPTED') || /^Proc-Type:.*ENCRYPTED/m.test(text);
      const fingerprint = encrypted ? undefined : spkiSha256(privateKeyFromPem(toPem(label, der)));
      return { path: file.path, slot, mode: file.mode, spkiSha256: fingerprint };
    });
}
