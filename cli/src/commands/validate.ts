import { EvercertError, type Fault, formatFault } from '@evercert/shared/errors';
import {
  type ClusterFacts,
  defaultClusterPolicy,
  isManifest,
  type Manifest,
  mergePolicy,
  type NodeFacts,
  type ParsedDocument,
  parseDocuments,
  toYaml,
  validateSet,
} from '@evercert/shared/manifest';
import { type Command, Option } from 'commander';
import { parse } from 'yaml';
import { line } from '../environment.ts';
import { renderObject } from '../output/objects.ts';
import { readSources, type Source } from './documents.ts';
import { type CommandContext, collect } from './session.ts';

interface ValidateOptions {
  filename?: string[];
  recursive?: boolean;
  output?: 'json' | 'yaml';
}

/** What `validate` finds. A document with a fault is not among the documents. */
export interface Validation {
  documents: ParsedDocument[];
  faults: Fault[];
}

const clusterWhereNoneIsNamed = 'example';

const examples = `
Examples:
  evercert validate -f manifests/
  evercert validate -f apiserver.yaml -o json
  cat *.yaml | evercert validate -f -

The JSON form: { "valid": true, "documents": [{ "file", "line", "object" }], "faults": [{ "file", "line", "column", "field", "message" }] }`;

/** Checks documents as far as that can be done without a coordinator: each by itself, then those of each cluster together, under the policy that they declare or the default one. */
export function validateSources(sources: readonly Source[]): Validation {
  const parsed = sources.map(({ name, text }) => parseDocuments(text, { file: name }));
  const documents = parsed.flatMap((one) => one.documents);
  const faults = parsed.flatMap((one) => one.faults);
  // One document at fault would make more of them in the set.
  if (faults.length > 0) return { documents, faults };
  return { documents, faults: clusterNames(documents).flatMap((name) => validateCluster(name, documents)) };
}

function clusterNames(documents: readonly ParsedDocument[]): string[] {
  return [...new Set(documents.map(clusterNameOf))];
}

function clusterNameOf({ document }: ParsedDocument): string {
  return (document.kind === 'Cluster' ? document.metadata.name : document.metadata.cluster) ?? clusterWhereNoneIsNamed;
}

function validateCluster(name: string, all: readonly ParsedDocument[]): Fault[] {
  const documents = all.filter((one) => clusterNameOf(one) === name).map(({ document }) => document);
  const manifests: Manifest[] = documents.filter(isManifest);
  const cluster: ClusterFacts = { name, policy: { ...defaultClusterPolicy }, webUrl: 'http://coordinator.example:7480' };
  const nodes: NodeFacts[] = [];
  for (const document of documents) {
    if (document.kind === 'Cluster') cluster.policy = mergePolicy(cluster.policy, document.spec);
    if (document.kind === 'Node') nodes.push({ name: document.metadata.name, labels: document.metadata.labels, ...document.spec });
  }
  return validateSet(cluster, manifests, nodes);
}

export function addValidateCommand(program: Command, context: CommandContext): void {
  program
    .command('validate')
    .summary('check manifests without a coordinator')
    .description(
      'Check documents without a coordinator: print the parsed objects, or every fault with its file and line. Exit code: 0 valid, 2 not. Folders, issuers and lifetimes are checked against the Cluster document among the files, else against the defaults.',
    )
    .option('-f, --filename <file>', 'file, folder, or - for standard input; repeatable', collect)
    .option('-R, --recursive', 'go into the folders of folders')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json', 'yaml']))
    .addHelpText('after', examples)
    .action(async (options: ValidateOptions) => {
      const { environment } = context;
      const sources = await readSources(environment, options.filename ?? [], options.recursive ?? false);
      const { documents, faults } = validateSources(sources);
      const empty = documents.length === 0 && faults.length === 0;
      if (empty) faults.push({ field: '', message: 'no document found', file: sources.map(({ name }) => name).join(', ') });
      const invalid = new EvercertError('InvalidManifest', `not valid: ${faults.length === 1 ? 'one fault' : `${faults.length} faults`}`);
      if (options.output) {
        const objects = documents.map(({ document, file, line: at }) => ({ file, line: at, object: parse(toYaml(document)) as unknown }));
        environment.out(renderObject({ valid: faults.length === 0, documents: objects, faults }, options.output));
      } else if (faults.length === 0) {
        for (const { document } of documents) line(environment.out, `${document.kind.toLowerCase()}/${document.metadata.name} valid`);
      } else {
        for (const fault of faults) line(environment.err, formatFault(fault));
        line(environment.err, `error: ${invalid.message}`);
      }
      if (faults.length > 0) context.exit(invalid.exitCode);
    });
}
