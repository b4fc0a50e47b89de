import { EvercertError, formatFault } from '@evercert/shared/errors';
import { apiVersion, parseDocuments, parseRfc3339, type RevocationKind, toYaml } from '@evercert/shared/manifest';
import { revocationReasons } from '@evercert/shared/revocation';
import { type Command, Option } from 'commander';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { timestamp } from '../output/time.ts';
import { applyConfirmed } from '../revocation/confirmed.ts';
import { printRevoked } from '../revocation/print.ts';
import { type CommandContext, withSession } from './session.ts';

interface RevokeOptions {
  serial?: string;
  group?: string;
  dns?: string;
  ip?: string;
  notBefore?: string;
  name?: string;
  description?: string;
  reason?: string;
  successors: boolean;
  dryRun?: boolean;
  yes?: boolean;
}

const fields = [
  ['serial', 'SerialNumber', 'serialNumber'],
  ['group', 'Group', 'group'],
  ['dns', 'DNS', 'dns'],
  ['ip', 'IP', 'ip'],
] as const satisfies readonly (readonly [keyof RevokeOptions, RevocationKind, string])[];

const examples = `
Examples:
  # What would it do? Which nodes, until when, and can they be repaired?
  evercert revoke --serial 77fdf4b1033b387aaace6ce1c18710c2 --dry-run
  # A stolen certificate and what succeeded it
  evercert revoke --serial 77:fd:f4:b1:03:3b:38:7a:aa:ce:6c:e1:c1:87:10:c2 --reason keyCompromise
  # Everything of a group that was issued up to now; new certificates may be issued
  evercert revoke --group system:nodes --not-before now
  # All names under a suffix, present and future
  evercert revoke --dns .legacy.example.com --name legacy-names`;

/** The short form of a RenewRevocation with one entry. */
export function addRevokeCommand(program: Command, context: CommandContext): void {
  program
    .command('revoke')
    .summary('refuse renewal and issue of certificates')
    .description(
      'Refuse renewal and issue of certificates by serial number, group, DNS name or address: the short form of a RenewRevocation with one entry. Certificates in use stay usable until they end, unless what checks them reads the CRL or asks OCSP.',
    )
    .option('--serial <hex>', 'serial number, with what succeeded it for the same node and name')
    .option('--group <name>', 'organization of the subject')
    .option('--dns <name>', 'DNS name, or a suffix that begins with a dot')
    .option('--ip <address>', 'IP address')
    .option('--not-before <time>', "only what was issued before this time: 'now' or RFC 3339; without it, all, present and future")
    .option('--name <name>', 'name of the object; default: one by kind and time')
    .option('--description <text>', 'for people: shown wherever the revocation is')
    .addOption(new Option('--reason <reason>', 'for CRL and OCSP').choices(revocationReasons))
    .option('--no-successors', 'with --serial: that certificate alone')
    .option('--dry-run', 'show what would be revoked, and what that would mean; revoke nothing')
    .option('--yes', 'confirm a revocation that takes every control-plane node')
    .addHelpText('after', examples)
    .action(async (options: RevokeOptions, command: Command) => {
      const { environment } = context;
      const { name, yaml } = documentOf(options, environment.clock.nowMs());
      await withSession(command, environment, async ({ api, requireCluster }) => {
        const documents = [{ source: 'evercert revoke', yaml }];
        const request = { cluster: requireCluster(), documents, dryRun: options.dryRun ?? false, origin: 'evercert revoke' };
        const { response, impact } = await applyConfirmed(api, request, options.yes ?? false);
        const [object] = response.objects;
        line(environment.out, `renewrevocation/${name} ${object?.action ?? 'unchanged'}${options.dryRun ? ' (dry run)' : ''}`);
        if (impact) printRevoked(environment, response.revocationMatches, impact, request.dryRun);
        else line(environment.out, 'it matches no certificate that is alive, and none that is declared');
      });
    });
}

/** InvalidArgument: not exactly one thing to revoke, or one that is none. */
function documentOf(options: RevokeOptions, nowMs: number): { name: string; yaml: string } {
  const given = fields.filter(([option]) => options[option] !== undefined);
  const [field] = given;
  if (field === undefined || given.length > 1) throw usageError('name what to revoke by one of --serial, --group, --dns and --ip');
  const [option, kind, key] = field;
  if (kind !== 'SerialNumber' && !options.successors) throw usageError('--no-successors goes with --serial alone');
  const compactTime = timestamp(new Date(nowMs)).toLowerCase().replaceAll(/[-:]/g, '');
  const name = options.name ?? `revoke-${option}-${compactTime}`;
  const entry = {
    kind,
    [key]: options[option],
    ...(options.notBefore !== undefined && { notBefore: notBeforeOf(options.notBefore, nowMs) }),
    ...(options.description !== undefined && { description: options.description }),
    ...(options.reason !== undefined && { reason: options.reason }),
    ...(!options.successors && { includeSuccessors: false }),
  };
  const document = { apiVersion, kind: 'RenewRevocation', metadata: { name }, spec: { revocations: [entry] } };
  const { documents, faults } = parseDocuments(JSON.stringify(document), { file: 'evercert revoke' });
  const [parsed] = documents;
  if (!parsed || faults.length > 0) {
    throw new EvercertError(
      'InvalidArgument',
      faults.map(({ field: place, message }) => formatFault({ field: place, message })).join('; '),
    );
  }
  return { name, yaml: toYaml(parsed.document) };
}

function notBeforeOf(text: string, nowMs: number): string {
  if (text === 'now') return new Date(nowMs).toISOString();
  if (parseRfc3339(text) === undefined)
    throw usageError(`--not-before takes 'now' or a time of RFC 3339, as 2020-04-17T17:22:05Z, got "${text}"`);
  return text;
}
