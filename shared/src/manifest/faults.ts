import { formatPath, type SourceMap } from '../config/index.ts';
import type { Fault } from '../errors/index.ts';
import type { Finding } from './scope.ts';
import type { AnyDocument } from './types.ts';

/** Where parsed documents came from, so that what is found wrong with them later still has a file and a line. */
const sources = new WeakMap<AnyDocument, SourceMap>();

export function rememberSource(document: AnyDocument, source: SourceMap): void {
  sources.set(document, source);
}

/** For a document that was made from a parsed one and says the same. */
export function keepSource<Document extends AnyDocument>(from: AnyDocument, to: Document): Document {
  const source = sources.get(from);
  if (source) sources.set(to, source);
  return to;
}

/** `CertificateManifest "apiserver"` */
export function title(document: AnyDocument): string {
  return `${document.kind} "${document.metadata.name}"`;
}

/** The finding as a fault that names the document and, where it matters, the node; with file and line if the document was parsed from a file. */
export function documentFault(document: AnyDocument, finding: Finding, node?: string): Fault {
  const who = node === undefined ? title(document) : `${title(document)} for node "${node}"`;
  const message = `${who}: ${finding.message}`;
  return sources.get(document)?.fault(finding.path, message) ?? { field: formatPath(finding.path), message };
}
