import type { AffectedCertificate, ApplyRequest, ApplyResponse } from '@evercert/proto';
import type { ParsedDocument } from '@evercert/shared/manifest';
import type { Command } from 'commander';
import { type Environment, line } from '../environment.ts';
import { applyConfirmed } from '../revocation/confirmed.ts';
import { printRevoked } from '../revocation/print.ts';
import { clusterOf, readDocuments, type Source } from './documents.ts';
import { type CommandContext, collect, globalsOf, type Session, withSession } from './session.ts';

interface ApplyOptions {
  filename?: string[];
  recursive?: boolean;
  dryRun?: boolean;
  yes?: boolean;
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
    .option('--yes', 'confirm a revocation that takes every control-plane node')
    .addHelpText('after', examples)
    .action(async (options: ApplyOptions, command: Command) => {
      const { environment } = context;
      const { sources, documents } = await readDocuments(environment, options.filename ?? [], options.recursive ?? false);
      await withSession(command, environment, async (session) => {
        const dryRun = options.dryRun ?? false;
        const request = requestOf(command, session, sources, documents, dryRun);
        const { response, impact } = documents.some(({ document }) => document.kind === 'RenewRevocation')
          ? await applyConfirmed(session.api, request, options.yes ?? false)
          : { response: await session.api.call('apply', request) };
        const suffix = dryRun ? ' (dry run)' : '';
        for (const object of response.objects)
          line(environment.out, `${object.kind.toLowerCase()}/${object.name} ${object.action}${suffix}`);
        printAffected(environment, response.affected, dryRun);
        for (const warning of response.warnings) line(environment.err, `Warning: ${warning}`);
        if (impact) printRevoked(environment, response.revocationMatches, impact, dryRun);
      });
    });
}

/** Sends documents that are valid by themselves; for `diff`. */
export function sendDocuments(
  command: Command,
  session: Session,
  sources: readonly Source[],
  documents: readonly ParsedDocument[],
  dryRun: boolean,
): Promise<ApplyResponse> {
  return session.api.call('apply', requestOf(command, session, sources, documents, dryRun));
}

/** Cluster: `--cluster`, else what the documents say, else the context's. */
function requestOf(
  command: Command,
  session: Session,
  sources: readonly Source[],
  documents: readonly ParsedDocument[],
  dryRun: boolean,
): ApplyRequest {
  const cluster = globalsOf(command).cluster ?? (clusterOf(documents) || session.requireCluster());
  return { cluster, documents: sources.map(({ name, text }) => ({ source: name, yaml: text })), dryRun };
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
