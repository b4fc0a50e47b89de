import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type ParsedNode, parseAllDocuments, type Scalar } from 'yaml';
import type { Fault } from '../errors/index.ts';
import { formatPath, type Path, type Place, type Position, SourceMap } from './source-map.ts';

/** Bounds on what is read: a file within them costs milliseconds, whatever it holds. */
export const yamlLimits = { characters: 1024 * 1024, documents: 500, values: 50_000, aliases: 100, depth: 40, faults: 100 } as const;

/** Syntax faults of one document that are worth showing; more follow from the first ones. */
const maxSyntaxFaults = 5;

const noTags = 'tags are not supported here; write plain values';

/** One YAML document as plain values (mappings, lists, strings, numbers, booleans, null), with the place of each. */
export interface YamlDocument {
  value: unknown;
  source: SourceMap;
  /** 1-based line of its first value. */
  line: number;
  /** The document as it is written; absent for what is a part of one. */
  text?: string;
}

/**
 * Reads YAML 1.2 (and so JSON) without ever throwing for what the text holds. Documents with a syntax fault are left out; empty ones too.
 * Refused: duplicate keys, tags, keys that are no scalars, more than `yamlLimits`. A number written with a leading zero stays text, because YAML 1.1 and
 * 1.2 disagree on whether it is octal.
 */
export function readYaml(text: string, file: string): { documents: YamlDocument[]; faults: Fault[] } {
  if (text.length > yamlLimits.characters)
    return tooLarge(file, `the text is longer than ${yamlLimits.characters} characters; split it into several files`);
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, {
    lineCounter: lines,
    // Checked below: the library's own check is quadratic and names neither the key nor its first place.
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'silent',
    schema: 'core',
  });
  if (parsed.length > yamlLimits.documents)
    return tooLarge(file, `more than ${yamlLimits.documents} documents; split them into several files`);
  const documents: YamlDocument[] = [];
  const faults: Fault[] = [];
  for (const document of parsed) {
    const reader = new Reader(document, file, lines, text);
    const read = reader.read();
    faults.push(...reader.faults);
    if (read !== undefined) documents.push(read);
  }
  return { documents, faults: faults.slice(0, yamlLimits.faults) };
}

function tooLarge(file: string, message: string): { documents: YamlDocument[]; faults: Fault[] } {
  return { documents: [], faults: [{ field: '', message, file, line: 1, column: 1 }] };
}

class Reader {
  readonly faults: Fault[] = [];
  readonly #document: Document.Parsed;
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly #text: string;
  readonly #places = new Map<string, Place>();
  #values = 0;
  #aliases = 0;
  /** The document goes beyond a limit: nothing more of it is read. */
  #stopped = false;

  constructor(document: Document.Parsed, file: string, lines: LineCounter, text: string) {
    this.#text = text;
    this.#document = document;
    this.#file = file;
    this.#lines = lines;
  }

  read(): YamlDocument | undefined {
    for (const error of this.#document.errors.slice(0, maxSyntaxFaults)) {
      const message =
        error.code === 'RESOURCE_EXHAUSTION' ? `nested deeper than ${yamlLimits.depth} levels` : `not valid YAML: ${error.message}`;
      this.#fault([], message, this.#positionAt(error.pos[0]));
    }
    for (const warning of this.#document.warnings.slice(0, maxSyntaxFaults)) {
      const message = warning.code === 'TAG_RESOLVE_FAILED' ? noTags : warning.message;
      this.#fault([], message, this.#positionAt(warning.pos[0]));
    }
    const version = this.#document.directives.yaml;
    if (version.explicit === true && version.version !== '1.2') {
      this.#fault([], `the document asks for YAML ${version.version}; only 1.2 is read: leave the %YAML line out`, this.#positionAt(0));
    }
    const contents = this.#document.contents;
    if (this.faults.length > 0 || contents === null || (isScalar(contents) && contents.value === null)) return undefined;
    const value = this.#read(contents, [], undefined);
    if (this.#stopped) return undefined;
    const source = new SourceMap(this.#file, this.#places);
    const [start, , end] = this.#document.range;
    return { value, source, line: source.locate([]).line, text: this.#text.slice(start, end) };
  }

  #read(node: ParsedNode | null, path: Path, key: Position | undefined): unknown {
    const position = node === null ? (key ?? { line: 1, column: 1 }) : this.#positionAt(node.range[0]);
    this.#values += 1;
    if (this.#values > yamlLimits.values)
      return this.#stop(path, `more than ${yamlLimits.values} values (aliases count in full)`, position);
    if (path.length > yamlLimits.depth) return this.#stop(path, `nested deeper than ${yamlLimits.depth} levels`, position);
    this.#place(path, key, position, isScalar(node) && typeof node.value !== 'string' ? node.source : undefined);
    if (node?.tag !== undefined) this.#fault(path, noTags, position);
    if (isAlias(node)) return this.#alias(node, path, key, position);
    if (isMap<ParsedNode, ParsedNode | null>(node)) return this.#mapping(node.items, path);
    if (isSeq<ParsedNode | null>(node)) return this.#list(node.items, path);
    return isScalar(node) ? scalarValue(node) : null;
  }

  #alias(node: ParsedNode, path: Path, key: Position | undefined, position: Position): unknown {
    this.#aliases += 1;
    if (this.#aliases > yamlLimits.aliases) return this.#stop(path, `more than ${yamlLimits.aliases} aliases`, position);
    const target = isAlias(node) ? node.resolve(this.#document) : undefined;
    if (target === undefined) return this.#stop(path, 'the alias refers to no anchor before it', position);
    // The place of a value is where it is used, not where its anchor stands; what lies inside it is found at the anchor.
    const value = this.#read(target as ParsedNode, path, key);
    this.#place(path, key, position, this.#places.get(formatPath(path))?.text);
    return value;
  }

  #place(path: Path, key: Position | undefined, value: Position, text: string | undefined): void {
    this.#places.set(formatPath(path), { value, ...(key && { key }), ...(text !== undefined && { text }) });
  }

  #list(items: readonly (ParsedNode | null)[], path: Path): unknown[] {
    const list: unknown[] = [];
    for (const [index, item] of items.entries()) {
      if (this.#stopped) break;
      list.push(this.#read(item, [...path, index], undefined));
    }
    return list;
  }

  #mapping(items: readonly { key: ParsedNode; value: ParsedNode | null }[], path: Path): Record<string, unknown> {
    const entries = new Map<string, { value: unknown; line: number }>();
    for (const { key, value } of items) {
      if (this.#stopped) break;
      const position = this.#positionAt(key?.range[0] ?? 0);
      if (!isScalar(key)) {
        this.#fault(
          path,
          'a key must be a plain word; found a list, a mapping or an alias (text that begins with "{" needs quotes)',
          position,
        );
        continue;
      }
      const name = typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
      const earlier = entries.get(name);
      if (earlier !== undefined) {
        this.#fault([...path, name], `the key is given twice (first on line ${earlier.line}); keep one of them`, position);
        continue;
      }
      entries.set(name, { value: this.#read(value, [...path, name], position), line: position.line });
    }
    // fromEntries defines and does not assign: a key named __proto__ is one like any other.
    return Object.fromEntries([...entries].map(([name, { value }]) => [name, value]));
  }

  #stop(path: Path, message: string, position: Position): undefined {
    // Deep paths are long: the first parts of one are enough to find the place.
    if (!this.#stopped) this.#fault(path.slice(0, 3), message, position);
    this.#stopped = true;
    return undefined;
  }

  #fault(path: Path, message: string, position: Position): void {
    if (this.faults.length < yamlLimits.faults) this.faults.push({ field: formatPath(path), message, file: this.#file, ...position });
  }

  #positionAt(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}

function scalarValue(node: Scalar.Parsed): unknown {
  const ambiguousOctal = typeof node.value === 'number' && /^[-+]?0o?[0-9]+$/.test(node.source);
  return ambiguousOctal ? node.source : node.value;
}
