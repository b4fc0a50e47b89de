import { didYouMean, readYaml, type SourceMap, validate, type YamlDocument, yamlLimits } from '../config/index.ts';
import { EvercertError, type Fault } from '../errors/index.ts';
import { documentFault, rememberSource, title } from './faults.ts';
import { fromYaml } from './from-yaml.ts';
import { asWritten } from './revocation.ts';
import { sampleCluster } from './samples.ts';
import { documentSchemas } from './schema.ts';
import { type AnyDocument, apiVersion, type Manifest, revocationApiVersions } from './types.ts';
import { examineAlone } from './validate-set.ts';

export type DocumentKind = AnyDocument['kind'];

export const documentKinds = Object.keys(documentSchemas) as DocumentKind[];

export interface ParsedDocument {
  document: AnyDocument;
  file: string;
  /** 1-based line where the document begins. */
  line: number;
  /** As it is written; absent for an item of a list. */
  text?: string;
}

export interface ParseOptions {
  /** Name for messages. */
  file: string;
  /** Kinds that are wanted; all by default. */
  kinds?: readonly DocumentKind[];
}

export interface ParseResult {
  /** The documents without a fault, in their order. */
  documents: ParsedDocument[];
  faults: Fault[];
}

/**
 * Reads documents from YAML or JSON: several in one file, or as the items of a `kind: List`. Never throws for what the text holds: each fault has its place, and documents
 * without one are returned. Everything that needs neither a cluster nor a node is checked; `validateSet` does the rest.
 */
export function parseDocuments(text: string, options: ParseOptions): ParseResult {
  const { documents: sources, faults } = readYaml(text, options.file);
  const result: ParseResult = { documents: [], faults };
  for (const source of sources.flatMap((document) => listItems(document, result))) parseDocument(source, options, result);
  findRepeated(result);
  result.faults.splice(yamlLimits.faults);
  return result;
}

/** `parseDocuments` over several files. Throws InvalidManifest with every fault of all of them. */
export function loadDocuments(sources: readonly { file: string; text: string }[], kinds?: readonly DocumentKind[]): ParsedDocument[] {
  const result: ParseResult = { documents: [], faults: [] };
  for (const { file, text } of sources) {
    const parsed = parseDocuments(text, { file, ...(kinds === undefined ? {} : { kinds }) });
    result.documents.push(...parsed.documents);
    result.faults.push(...parsed.faults);
  }
  findRepeated(result);
  if (result.faults.length === 0) return result.documents;
  const count = result.faults.length === 1 ? 'one fault' : `${result.faults.length} faults`;
  const files = [...new Set(result.faults.map((fault) => fault.file))].join(', ');
  throw new EvercertError('InvalidManifest', `the documents are not valid: ${count} in ${files}`, {
    faults: result.faults.slice(0, yamlLimits.faults),
  });
}

function listItems(document: YamlDocument, result: ParseResult): YamlDocument[] {
  const { value, source } = document;
  if (!isMapping(value) || value['kind'] !== 'List') return [document];
  const items = value['items'];
  if (!Array.isArray(items)) {
    result.faults.push(source.fault(['items'], 'expected the documents of the list as its items'));
    return [];
  }
  return items.map((item: unknown, index) => {
    const within = source.within(['items', index]);
    return { value: item, source: within, line: within.locate([]).line };
  });
}

function parseDocument({ value, source, line, text }: YamlDocument, options: ParseOptions, result: ParseResult): void {
  const kind = readHeader(value, source, options.kinds ?? documentKinds, result.faults);
  if (kind === undefined) return;
  const validated = validate(documentSchemas[kind], kind === 'RenewRevocation' ? asWritten(value, source) : value, source);
  if (!validated.ok) {
    result.faults.push(...validated.faults);
    return;
  }
  const document = (fromYaml[kind] as (raw: unknown) => AnyDocument)(validated.value);
  rememberSource(document, source);
  const faults = isManifest(document) ? examineAlone(sampleCluster, document).map(({ path, message }) => source.fault(path, message)) : [];
  result.faults.push(...faults);
  if (faults.length === 0) result.documents.push({ document, file: options.file, line, ...(text !== undefined && { text }) });
}

/** The document's kind, if it is one of those wanted and of our API version. */
function readHeader(value: unknown, source: SourceMap, kinds: readonly DocumentKind[], faults: Fault[]): DocumentKind | undefined {
  if (!isMapping(value)) {
    faults.push(source.fault([], `expected a document with apiVersion: ${apiVersion} and a kind`));
    return undefined;
  }
  const before = faults.length;
  const { apiVersion: version, kind } = value;
  const versions: readonly unknown[] = kind === 'RenewRevocation' ? revocationApiVersions : [apiVersion];
  if (!versions.includes(version)) {
    const expected = `expected ${versions.join(' or ')}`;
    const found = version === undefined ? `missing; ${expected}` : `${expected}, found ${JSON.stringify(version).slice(0, 60)}`;
    faults.push(source.fault(['apiVersion'], found));
  }
  if (typeof kind !== 'string' || !(kinds as readonly string[]).includes(kind)) faults.push(source.fault(['kind'], kindFault(kind, kinds)));
  return faults.length > before ? undefined : (kind as DocumentKind);
}

function kindFault(kind: unknown, kinds: readonly DocumentKind[]): string {
  const expected = `expected one of ${kinds.join(', ')}`;
  if (typeof kind !== 'string') return `${kind === undefined ? 'missing; ' : ''}${expected}`;
  if ((documentKinds as string[]).includes(kind)) return `the kind ${kind} cannot be used here; ${expected}`;
  return `unknown kind "${kind.slice(0, 60)}"${didYouMean(kind, kinds) || `; ${expected}`}`;
}

/** One object declared twice: the later one would silently win. */
function findRepeated(result: ParseResult): void {
  const first = new Map<string, ParsedDocument>();
  const kept: ParsedDocument[] = [];
  for (const parsed of result.documents) {
    const key = JSON.stringify([title(parsed.document), parsed.document.metadata.cluster]);
    const other = first.get(key);
    if (other === undefined) {
      first.set(key, parsed);
      kept.push(parsed);
    } else {
      result.faults.push(
        documentFault(parsed.document, { path: ['metadata', 'name'], message: `declared already at ${other.file}:${other.line}` }),
      );
    }
  }
  result.documents = kept;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isManifest(document: AnyDocument): document is Manifest {
  return document.kind !== 'Node' && document.kind !== 'Cluster' && document.kind !== 'RenewRevocation';
}
