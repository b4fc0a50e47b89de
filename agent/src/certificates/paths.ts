import type { OutputSpec } from '@evercert/shared/manifest';

/** The declared paths of an output, for the watcher. */
export function outputPaths(output: OutputSpec): string[] {
  return output.type === 'pem' ? [output.certificate.path, output.privateKey.path] : [output.file.path];
}

/** True when the same pair is to lie elsewhere, in another form, or beside other CAs: files change, the certificate does not. */
export function placedOtherwise(before: PlacedSpec, after: PlacedSpec): boolean {
  const text = ({ spec, trustAnchors }: PlacedSpec): string =>
    JSON.stringify([spec.outputs, trustAnchors.map((der) => der.toString('base64'))]);
  return text(before) !== text(after);
}

interface PlacedSpec {
  spec: { outputs: OutputSpec[] };
  trustAnchors: Buffer[];
}
