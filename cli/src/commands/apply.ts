import type { AffectedCertificate, ApplyResponse, RevocationMatch } from '@evercert/proto';
import type { ParsedDocument } from '@evercert/shared/manifest';
import type { Command } from 'commander';
import { type Environment, line } from '../environment.ts';
import { describeReference } from '../resources/references.ts';
import { clusterOf, readDocuments, type Source } from './documents.ts';
import { type CommandContext, collect, globalsOf, type Session, withSession } from './session.ts';

interface ApplyOptions {
  filename?: string[];
  recursive?: boolean;
  dryRun?: boolean;
}

const examples = `
Examples:
  # See which certificates a change would re-issue, then make it
  evercert apply -f manifests/ --dry-run
  evercert apply -f manifests/
  # From standard input
  evercert apply -f - < node.yaml`;

export function addApplyCommand(program: Command, context: CommandContext): void {
  program
    .command('apply')
    .summary('apply manifests: all of them or, on any fault, none')
    .description(
      'Apply documents of kinds Cluster, Node, CertificateManifest, TrustBundleManifest, KeyPairManifest, RevocationListManifest and RenewRevocation: all of them or, on any fault, none.',
    )
    .option('-f, --filename <file>', 'file, folder, or - for standard input; repeatable', collect)
    .option('-R, --recursive', 'go into the folders of folders')
    .option('--dry-run', 'let the coordinator check everything, change nothing')
    .addHelpText('after', examples)
    .action(async (options: ApplyOptions, command: Command) => {
      const { environment } = context;
      const { sources, documents } = await readDocuments(environment, options.filename ?? [], options.recursive ?? false);
      await withSession(command, environment, async (session) => {
        const response = await sendDocuments(command, session, sources, documents, options.dryRun ?? false);
        const suffix = options.dryRun ? ' (dry run)' : '';
        for (const object of response.objects)
          line(environment.out, `${object.kind.toLowerCase()}/${object.name} ${object.action}${suffix}`);
        printAffected(environment, response.affected, options.dryRun ?? false);
        printRevoked(environment, response.revocationMatches, options.dryRun ?? false);
      });
    });
}

/** Sends documents that are valid by themselves; `diff` does it too. Cluster: `--cluster`, else what the documents say, else the context's. */
export async function sendDocuments(
  command: Command,
  session: Session,
  sources: readonly Source[],
  documents: readonly ParsedDocument[],
  dryRun: boolean,
): Promise<ApplyResponse> {
  const cluster = globalsOf(command).cluster ?? (clusterOf(documents) || session.requireCluster());
  return session.api.call('apply', { cluster, documents: sources.map(({ name, text }) => ({ source: name, yaml: text })), dryRun });
}

const consequences: Record<string, [now: string, dryRun: string]> = {
  issue: ['will be issued', 'would be issued'],
  reissue: ['will be re-issued', 'would be re-issued'],
  remove: ['will be removed', 'would be removed'],
};

/** A line for each certificate that a change touches. */
export function printAffected({ out }: Environment, affected: readonly AffectedCertificate[], dryRun: boolean): void {
  for (const { node, certificate, action } of affected) {
    const [now, conditional] = consequences[action] ?? [action, action];
    line(out, `certificate/${node}/${certificate} ${dryRun ? conditional : now}`);
  }
}

/** A line for each live certificate that applied revocations match, and for each declared one that would not be issued. */
export function printRevoked({ out }: Environment, matches: readonly RevocationMatch[], dryRun: boolean): void {
  for (const { node, certificate, serial, by, future } of matches) {
    const what = future ? `${dryRun ? 'would not be' : 'is not'} issued again` : `(${serial}) ${dryRun ? 'would be' : 'is'} revoked`;
    line(out, `certificate/${node}/${certificate} ${what}${by ? `, by ${describeReference(by)}` : ''}`);
  }
  const live = new Set(matches.filter(({ future }) => !future).map(({ serial }) => serial)).size;
  if (live === 0) return;
  const which = live === 1 ? 'this certificate stays usable until it ends' : `these ${live} certificates stay usable until they end`;
  line(out, `${dryRun ? 'then ' : ''}${which}, unless what checks them reads the CRL or asks OCSP: see docs/revocation.md`);
}

/** What a deletion no longer refuses. */
export function printReleased({ out }: Environment, released: readonly RevocationMatch[], dryRun: boolean): void {
  for (const { node, certificate, serial, by, future } of released) {
    const what = future
      ? `${dryRun ? 'could be' : 'can be'} issued again`
      : `(${serial}) ${dryRun ? 'would no longer be' : 'is no longer'} revoked`;
    line(out, `certificate/${node}/${certificate} ${what}${by ? `, by ${describeReference(by)}` : ''}`);
  }
}
