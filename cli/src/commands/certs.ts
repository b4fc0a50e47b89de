import { resolve } from 'node:path';
import { apiVersion } from '@evercert/shared/manifest';
import { type Command, Option } from 'commander';
import { type CheckReport, checkFolder } from '../certs-check/index.ts';
import { line } from '../environment.ts';
import { renderObject } from '../output/objects.ts';
import { printable, renderTable } from '../output/table.ts';
import { expiry, timestamp } from '../output/time.ts';
import { type CommandContext, collect, duration } from './session.ts';

interface CheckOptions {
  output: 'table' | 'json';
  warnWithin?: string;
  ca?: string[];
  root: string;
  headers: boolean;
}

/** For monitoring, as nagios' plug-ins have it. */
const exitCodes: Record<CheckReport['status'], number> = { well: 0, soon: 1, broken: 2 };

const examples = `
Examples:
  evercert certs check /etc/kubernetes
  # kubelet's folder holds no CA: name it
  evercert certs check /var/lib/kubelet/pki --ca /etc/kubernetes/pki/ca.crt
  # Another machine's files
  evercert certs check /mnt/etc/kubernetes --root /mnt
  # For monitoring
  evercert certs check /etc/kubernetes --warn-within 24h -o json | jq .status

Exit code: 0 all well; 1 a certificate ends soon; 2 something is broken: expired, not yet valid, no chain to a CA of the folder, key missing, mismatched or
readable by others, file unreadable or malformed, or no certificate at all.

The JSON form:
  { "kind": "CertificateCheck", "folder", "checkedAt", "status": "well|soon|broken", "counts": { "certificates", "well", "soon", "broken", "superseded" },
    "certificates": [{ "path", "role": "leaf|ca", "subject", "issuer", "serial", "dnsNames", "ipAddresses", "keyAlgorithm", "notBefore", "notAfter",
                       "lifetimeSeconds", "remainingSeconds",
                       "chain": { "status": "verified|root|broken", "anchor": { "subject", "serial", "path", "key": "here|elsewhere" } },
                       "key": { "status": "matching|mismatched|missing|encrypted|elsewhere", "path", "mode" },
                       "status": "well|soon|broken|superseded", "problems": [{ "code", "message" }] }],
    "problems": [{ "path", "code", "message" }],
    "absent": ["path"] }
The CA is shown by its file; "key elsewhere" is what kubeadm calls externally managed. Paths are relative to the folder; files that a kubeconfig refers to elsewhere are absolute. "superseded" are kubelet's older dated files.`;

export function addCertsCommand(program: Command, context: CommandContext): void {
  const certs = program.command('certs').description('Look at certificates on disk. Needs no coordinator.');
  certs
    .command('check')
    .summary("check any PKI folder's certificates, chains, keys, modes and ends")
    .description(
      "Check any PKI folder: each certificate's chain, key, mode of the key, and end. Reads PEM and DER files, kubelet's combined files and kubeconfigs.",
    )
    .argument('<dir>', 'folder, as /etc/kubernetes/pki')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .option('--warn-within <duration>', 'certificates with less left end soon, as 24h (default: the last third of each life)')
    .option('--ca <file>', 'PEM file with a CA that is trusted besides those in the folder; repeatable', collect)
    .option('--root <dir>', 'where absolute paths in kubeconfigs begin, for the files of another machine', '/')
    .option('--no-headers', 'no header line')
    .addHelpText('after', examples)
    .action(async (dir: string, options: CheckOptions) => {
      const { environment } = context;
      const nowMs = environment.clock.nowMs();
      const report = await checkFolder({
        folder: resolve(environment.cwd, dir),
        rootDir: resolve(environment.cwd, options.root),
        caFiles: (options.ca ?? []).map((file) => resolve(environment.cwd, file)),
        nowMs,
        warnWithinMs: options.warnWithin === undefined ? undefined : duration(options.warnWithin, '--warn-within'),
      });
      const isEmpty = report.counts.certificates === 0;
      // Nothing to renew is not what somebody who watches a PKI folder expects.
      const status = isEmpty ? 'broken' : report.status;
      if (options.output === 'json') {
        const head = { apiVersion, kind: 'CertificateCheck', folder: resolve(environment.cwd, dir), checkedAt: timestamp(new Date(nowMs)) };
        environment.out(renderObject({ ...head, ...report, status }, 'json'));
      } else environment.out(renderReport(report, nowMs, !options.headers));
      if (isEmpty) line(environment.err, `No certificates found in ${dir}.`);
      context.exit(exitCodes[status]);
    });
}

function renderReport(report: CheckReport, nowMs: number, noHeaders: boolean): string {
  const shown = report.certificates.filter(({ status }) => status !== 'superseded');
  const rows = shown.map((one) => [
    one.path,
    one.subject,
    one.issuer,
    one.chain.status,
    authorityOf(one),
    one.key.status,
    expiry(one.notAfter, nowMs),
    one.status.toUpperCase(),
  ]);
  const table =
    shown.length === 0 ? '' : renderTable(['FILE', 'SUBJECT', 'ISSUER', 'CHAIN', 'CA', 'KEY', 'EXPIRES', 'STATUS'], rows, { noHeaders });
  const problems = [...shown.flatMap((one) => one.problems.map((problem) => ({ path: one.path, ...problem }))), ...report.problems];
  const list = problems.map(({ path, code, message }) => `  ${printable(path)}: ${code}: ${printable(message)}\n`).join('');
  const { certificates, well, soon, broken, superseded } = report.counts;
  const older = superseded === 0 ? '' : `, ${superseded} superseded by newer files (not shown)`;
  const summary = `${certificates} certificates: ${well} well, ${soon} ending soon, ${broken} broken${older}\n`;
  const absent =
    report.absent.length === 0 ? '' : `Not there, of what kubeadm keeps on a control-plane node: ${report.absent.join(', ')}\n`;
  return `${table}${list === '' ? '' : `\nProblems:\n${list}`}${table === '' ? '' : '\n'}${absent}${summary}`;
}

function authorityOf({ chain: { anchor } }: CheckReport['certificates'][number]): string {
  if (!anchor) return '<none>';
  return anchor.key === 'here' ? anchor.path : `${anchor.path} (key elsewhere)`;
}
