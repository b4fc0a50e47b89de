import type { Manifest } from '@evercert/proto';
import { formatFault } from '@evercert/shared/errors';
import { type AnyDocument, type FileSpec, type OutputSpec, parseDocuments } from '@evercert/shared/manifest';

/** A file that a manifest declares. Its path may hold templates. */
export interface DeclaredFile {
  manifest: string;
  /** "certificate", "private key", "chain"… */
  content: string;
  file: FileSpec;
}

/** Files of a stored manifest. One that this release does not understand (a newer coordinator's) says so in place of its files. */
export function declaredFiles(manifest: Manifest): DeclaredFile[] {
  const { documents, faults } = parseDocuments(manifest.yaml, { file: `${manifest.kind}/${manifest.name}` });
  const [fault] = faults;
  if (fault) return [{ manifest: manifest.name, content: `not understood: ${formatFault(fault)}`, file: { path: '<unknown>', mode: 0 } }];
  return documents.flatMap(({ document }) => filesOf(document).map(([content, file]) => ({ manifest: manifest.name, content, file })));
}

function filesOf(document: AnyDocument): [content: string, file: FileSpec][] {
  switch (document.kind) {
    case 'CertificateManifest':
      return document.spec.outputs.flatMap(filesOfOutput);
    case 'TrustBundleManifest':
      return [['trust bundle', document.spec.file]];
    case 'RevocationListManifest':
      return [[`CRL (${document.spec.format})`, document.spec.file]];
    case 'KeyPairManifest':
      return [
        ['private key', document.spec.privateKey],
        ['public key', document.spec.publicKey],
      ];
    default:
      return [];
  }
}

function filesOfOutput(output: OutputSpec): [content: string, file: FileSpec][] {
  if (output.type !== 'pem') return [[output.type, output.file]];
  return [
    ['certificate', output.certificate],
    ['private key', output.privateKey],
  ];
}
