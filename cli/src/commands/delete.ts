import type { Command } from 'commander';
import { type Environment, line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { everything, findResource, manifests, parseTarget, type Resource } from '../resources/index.ts';
import { printReleased } from '../revocation/print.ts';
import { printAffected } from './apply.ts';
import { clusterOf, readDocuments } from './documents.ts';
import { fetchSelected } from './listing.ts';
import { type CommandContext, collect, globalsOf, type Session, withSession } from './session.ts';

interface DeleteOptions {
  filename?: string[];
  recursive?: boolean;
  dryRun?: boolean;
  yes?: boolean;
}

interface Target {
  resource: Resource<unknown>;
  name: string;
  cluster: string;
}

type Deletion = (session: Session, target: Target, environment: Environment, dryRun: boolean) => Promise<void>;

/** A manifest's deletion is checked by the coordinator; of the others, a dry run looks whether there is such an object. */
const existing =
  (remove: (session: Session, target: Target) => Promise<unknown>): Deletion =>
  async (session, { resource, name, cluster }, _environment, dryRun) => {
    if (!dryRun) await remove(session, { resource, name, cluster });
    else await fetchSelected(session, { resource, labels: [], selection: { ...everything, cluster, names: [name] } });
  };

const deleteManifest: Deletion = async ({ api }, { resource, name, cluster }, environment, dryRun) => {
  const { affected } = await api.call('deleteManifest', { cluster, kind: resource.kind, name, dryRun });
  printAffected(environment, affected, dryRun);
};

const deleteRevocation: Deletion = async ({ api }, { name, cluster }, environment, dryRun) => {
  const { released } = await api.call('deleteRevocation', { cluster, name, dryRun });
  printReleased(environment, released, dryRun);
};

const deletions: Record<string, Deletion> = {
  CertificateManifest: deleteManifest,
  TrustBundleManifest: deleteManifest,
  KeyPairManifest: deleteManifest,
  RevocationListManifest: deleteManifest,
  RenewRevocation: deleteRevocation,
  Node: existing(({ api }, { cluster, name }) => api.call('deleteNode', { cluster, name })),
  Token: existing(({ api }, { name }) => api.call('deleteToken', { id: name })),
  Cluster: existing(({ api }, { name }) => api.call('deleteCluster', { name })),
};

/** Cannot be undone by applying a file again. */
const needConfirmation: Record<string, string> = {
  Node: 'its identity is refused from then on, and its certificates are renewed no more',
  Cluster: 'its CA keys are destroyed, and no certificate of it can ever be renewed again',
};

const examples = `
Examples:
  evercert delete -f manifests/webhook.yaml --dry-run
  evercert delete certificatemanifest webhook --cluster demo
  evercert delete token abcdef
  evercert delete node worker-2 --yes`;

export function addDeleteCommand(program: Command, context: CommandContext): void {
  program
    .command('delete')
    .summary('delete manifests, revocations, nodes, tokens or clusters')
    .description(
      'Delete what -f declares, or by type and name: certificatemanifest, trustbundlemanifest, keypairmanifest, revocationlistmanifest, revocation, node, token, cluster.',
    )
    .argument('[type]', 'TYPE or TYPE/NAME')
    .argument('[names...]', 'names')
    .option('-f, --filename <file>', 'file, folder, or - for standard input; repeatable', collect)
    .option('-R, --recursive', 'go into the folders of folders')
    .option('--dry-run', 'say what would be deleted, delete nothing')
    .option('--yes', 'confirm the deletion of a node or a cluster')
    .addHelpText('after', examples)
    .action(async (type: string | undefined, names: string[], options: DeleteOptions, command: Command) => {
      const { environment } = context;
      const dryRun = options.dryRun ?? false;
      const { targets, cluster } = type === undefined ? await targetsOfFiles(environment, options) : targetsOfNames(type, names, options);
      for (const { resource, name } of targets) confirm(resource, name, options);
      await withSession(command, environment, async (session) => {
        const needsCluster = targets.some(({ resource }) => resource.kind !== 'Cluster' && resource.kind !== 'Token');
        const where = globalsOf(command).cluster ?? (cluster || (needsCluster ? session.requireCluster() : ''));
        for (const { resource, name } of targets) {
          await deletions[resource.kind]!(session, { resource, name, cluster: where }, environment, dryRun);
          line(environment.out, `${resource.kind.toLowerCase()} "${name}" deleted${dryRun ? ' (dry run)' : ''}`);
        }
      });
    });
}

interface Targets {
  targets: { resource: Resource<unknown>; name: string }[];
  /** That the documents name; empty: none. */
  cluster: string;
}

async function targetsOfFiles(environment: Environment, { filename, recursive }: DeleteOptions): Promise<Targets> {
  if (!filename) throw usageError('name what to delete: TYPE NAME, or -f FILE');
  const { documents } = await readDocuments(environment, filename, recursive ?? false);
  const targets = documents.map(({ document }) => ({ resource: findResource(document.kind), name: document.metadata.name }));
  // What stands in a node or a cluster goes before it.
  const last = (kind: string): number => ['Node', 'Cluster'].indexOf(kind);
  return { targets: targets.sort((a, b) => last(a.resource.kind) - last(b.resource.kind)), cluster: clusterOf(documents) };
}

function targetsOfNames(type: string, names: readonly string[], { filename }: DeleteOptions): Targets {
  if (filename) throw usageError('name what to delete either by TYPE NAME or with -f, not both');
  const { resource, names: targets } = parseTarget(type, names);
  if ((resource as unknown) === manifests)
    throw usageError('say which kind of manifest: certificatemanifest, trustbundlemanifest, keypairmanifest or revocationlistmanifest');
  if (!deletions[resource.kind]) throw usageError(`${resource.plural} cannot be deleted`);
  if (targets.length === 0) throw usageError(`name the ${resource.singular} to delete`);
  return { targets: targets.map((name) => ({ resource, name })), cluster: '' };
}

function confirm({ kind, singular }: Resource<unknown>, name: string, { yes, dryRun }: DeleteOptions): void {
  const consequence = needConfirmation[kind];
  if (consequence === undefined || yes || dryRun) return;
  throw usageError(`deleting ${singular} "${name}" cannot be undone (${consequence}): confirm it with --yes`);
}
