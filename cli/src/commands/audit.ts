import type { AuditEntry } from '@evercert/proto';
import { parseDuration } from '@evercert/shared/config';
import { parseRfc3339 } from '@evercert/shared/manifest';
import { type Command, Option } from 'commander';
import type { RequestOf } from '../client.ts';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { type OutputFormat, outputFormats, Printer } from '../output/printer.ts';
import { auditEntries } from '../resources/audit-entry.ts';
import { allPages } from '../resources/paging.ts';
import type { Resource } from '../resources/types.ts';
import { addVerifyCommand } from './audit-verify.ts';
import { type CommandContext, globalsOf, type Session, wholeNumber, withSession } from './session.ts';

interface ListOptions {
  node?: string;
  serial?: string;
  actor?: string;
  reason?: string;
  since?: string;
  until?: string;
  limit: string;
  output?: OutputFormat;
  headers: boolean;
}

const listExamples = `
Examples:
  # The last hundred entries, the newest last
  evercert audit list
  # Everything that was ever told of one certificate
  evercert audit search --serial 4f2c91a07d5e4b6f8a3e1c2d90b7f654 -o wide
  # What an admin did in the last day
  evercert audit search --actor admin/ada --since 24h
  # Refused calls of one node in May
  evercert audit search --node worker-7 --reason RenewalRefused --since 2026-05-01T00:00:00Z --until 2026-06-01T00:00:00Z -o json`;

const exportExamples = `
Examples:
  evercert audit export > audit.jsonl
  # Go on where the last export ended, and with whatever comes
  evercert audit export --from 1235 --follow >> audit.jsonl
  # Every certificate that was issued by a token
  evercert audit export | jq -c 'select(.event.reason == "CertificateIssued" and .event.details.tokenId)'`;

/** `evercert audit`: what happened, who did it, and proof that nobody changed what is written of it. */
export function addAuditCommand(program: Command, context: CommandContext): void {
  const audit = program
    .command('audit')
    .summary('search, export and verify the audit log')
    .description(
      'The audit log: every issue, refusal, revocation, call of an admin, token, replacement and rotation, in a chain of hashes that is signed at intervals.',
    );
  addListCommand(audit, context);
  addExportCommand(audit, context);
  addVerifyCommand(audit, context);
}

function addListCommand(audit: Command, { environment }: CommandContext): void {
  audit
    .command('list')
    .alias('search')
    .summary('show entries, the newest last')
    .description('Show entries of the audit log, the newest last. Of all clusters, unless one is named with --cluster.')
    .option('--node <name>', 'only what is told of this node')
    .option('--serial <serial>', 'only what is told of the certificate with this serial number, or was done with it')
    .option('--actor <actor>', 'only what this one did, as admin/NAME, node/CLUSTER/NAME, token/ID, coordinator or anonymous')
    .option('--reason <reason>', 'only entries with this reason, as CertificateIssued or AdminCall')
    .option('--since <time>', 'not what happened before: a time of RFC 3339, or a duration before now, as 24h')
    .option('--until <time>', 'only what happened before this time')
    .option('--limit <n>', 'the newest so many, 1 to 10000', '100')
    .option('--no-headers', 'no header line')
    .addOption(new Option('-o, --output <format>', 'output format').choices([...outputFormats]))
    .addHelpText('after', listExamples)
    .action(async (options: ListOptions, command: Command) => {
      const limit = wholeNumber(options.limit, '--limit', 1, 10_000);
      const nowMs = environment.clock.nowMs();
      const { node = '', serial = '', actor = '', reason = '' } = options;
      const filter = { node, serial: serial.replaceAll(':', '').toLowerCase(), actor, reason };
      const times = { since: timeOf(options.since, '--since', nowMs), until: timeOf(options.until, '--until', nowMs) };
      await withSession(command, environment, async ({ api }) => {
        const cluster = globalsOf(command).cluster ?? '';
        const found = await listEntries(api, { ...filter, ...times, cluster }, limit);
        const format = options.output ?? 'table';
        if (found.length === 0 && format !== 'json' && format !== 'yaml') return line(environment.err, 'No entries found.');
        const print = { format, noHeaders: !options.headers, clusters: false, superseded: false, watchEvents: false };
        environment.out(new Printer(auditEntries as Resource<AuditEntry>, print).all(found, nowMs, false));
      });
    });
}

type Filter = Omit<RequestOf<'listAuditEntries'>, 'pageSize' | 'pageToken'>;

/** Oldest first. */
async function listEntries(api: Session['api'], filter: Filter, limit: number): Promise<AuditEntry[]> {
  const found = await allPages(async (pageToken) => {
    const answer = await api.call('listAuditEntries', { ...filter, pageSize: Math.min(limit, 1000), pageToken });
    return { items: answer.entries, nextPageToken: answer.nextPageToken };
  }, limit);
  return found.reverse();
}

/** A time, or a duration before now. */
function timeOf(text: string | undefined, option: string, nowMs: number): Date | undefined {
  if (text === undefined) return undefined;
  const atMs = parseRfc3339(text);
  if (atMs !== undefined) return new Date(atMs);
  try {
    return new Date(nowMs - parseDuration(text));
  } catch {
    throw usageError(`${option} takes a time, as 2026-05-01T00:00:00Z, or a duration before now, as 24h, got "${text}"`);
  }
}

function addExportCommand(audit: Command, { environment }: CommandContext): void {
  audit
    .command('export')
    .summary('write the log out as JSON lines')
    .description(
      'Write the audit log to standard output as JSON lines, oldest first, with the hashes and signatures that "evercert audit verify" checks. An export is an entry of the log itself, behind which the log is signed.',
    )
    .option('--from <n>', 'sequence number of the first entry (default: the oldest that is kept)')
    .option('-f, --follow', 'go on with new entries as they come')
    .addHelpText('after', exportExamples)
    .action(async ({ from, follow = false }: { from?: string; follow?: boolean }, command: Command) => {
      const fromSequence = from === undefined ? 0 : wholeNumber(from, '--from', 1, Number.MAX_SAFE_INTEGER);
      await withSession(command, environment, async ({ api }) => {
        for await (const { lines } of api.stream('exportAudit', { fromSequence, follow })) environment.out(Buffer.from(lines).toString());
      });
    });
}
