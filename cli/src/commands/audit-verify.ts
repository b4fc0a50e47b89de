import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { type AuditFault, type AuditReport, type AuditSource, verifyAuditLog } from '@evercert/shared/audit';
import { describeError, toEvercertError } from '@evercert/shared/errors';
import { toFileError } from '@evercert/shared/files';
import { certificatesFromPem } from '@evercert/shared/x509';
import { type Command, Option } from 'commander';
import { CoordinatorLog } from '../audit/coordinator-log.ts';
import type { Environment } from '../environment.ts';
import { usageError } from '../errors.ts';
import { printable } from '../output/table.ts';
import { type CommandContext, globalsOf, type Session, withSession } from './session.ts';

interface VerifyOptions {
  ca?: string;
  partial?: boolean;
  output?: 'json';
}

const failedExitCode = 1;
const maxFiles = 10_000;

const examples = `
Examples:
  # What the coordinator has
  evercert audit verify
  # The files that it wrote, against its own log: also what is missing at their end
  evercert audit verify /var/lib/evercert/audit/*.jsonl
  # An export of May, on a machine without a network
  evercert audit verify may.jsonl --partial --ca control-ca.pem

Exit code: 0 when the log is as it was written, 1 otherwise.`;

export function addVerifyCommand(audit: Command, { environment, exit }: CommandContext): void {
  audit
    .command('verify')
    .summary('find any change, removal, reordering, insertion or cut')
    .description(
      "Check files or exports of the audit log: the chain of hashes, the signatures, and how the files fit together. Without files, what the coordinator has. With files they are compared with the coordinator's own log; with --ca nobody is asked.",
    )
    .argument('[files...]', 'files of JSON lines, in any order')
    .option('--ca <file>', "control CA in PEM, with earlier ones if the files are older (default: the context's)")
    .option('--partial', 'the files are a part of the log: what was before and came after them is no fault')
    .addOption(new Option('-o, --output <format>', 'one JSON object with all that was found').choices(['json']))
    .addHelpText('after', examples)
    .action(async (files: string[], options: VerifyOptions, command: Command) => {
      if (files.length > maxFiles) throw usageError(`at most ${maxFiles} files can be verified at once, got ${files.length}`);
      const sources = files.map((file) => fileSource(environment, file));
      const anchors = options.ca === undefined ? undefined : await readCa(resolve(environment.cwd, options.ca));
      const partial = options.partial ?? false;
      const report =
        anchors && files.length > 0
          ? await verifyAuditLog(sources, { anchors, partial })
          : await withSession(command, environment, (session) => verifyWith(session, { environment, sources, anchors, partial, command }));
      environment.out(options.output === 'json' ? jsonOf(report) : textOf(report));
      if (report.faults.length > 0) exit(failedExitCode);
    });
}

interface Order {
  environment: Environment;
  sources: AuditSource[];
  anchors: Buffer[] | undefined;
  partial: boolean;
  command: Command;
}

/** With the coordinator's log as one more source. */
async function verifyWith({ api, context }: Session, order: Order): Promise<AuditReport> {
  const { environment, sources, partial, command } = order;
  const anchors = order.anchors ?? (await readCa(context.certificateAuthority));
  const log = new CoordinatorLog(api);
  if (sources.length === 0) return verifyAuditLog([log.source(0)], { anchors, partial: true });
  const alone = await verifyAuditLog(sources, { anchors, partial });
  try {
    const { report, next } = await log.compare(alone, { anchors, partial });
    const late = partial ? undefined : next;
    // What has happened since is not in the files yet.
    if (late === undefined || late.timeMs > environment.clock.nowMs() - settledMs) return report;
    return { ...report, faults: [...report.faults, endsEarly(alone, late.sequence)] };
  } catch (caught) {
    const error = toEvercertError(caught);
    if (!unreached.has(error.code) || globalsOf(command).context !== undefined) throw error;
    const note = `the coordinator was not asked whether the log goes on: ${describeError(error)}`;
    return { ...alone, notes: [...alone.notes, note] };
  }
}

/** Files are this far behind the coordinator's log at most. */
const settledMs = 60_000;
const unreached: ReadonlySet<string> = new Set(['Unavailable', 'DeadlineExceeded']);

function endsEarly({ logs, last }: AuditReport, next: number): AuditFault {
  const message = `the files end with entry ${last}, and the coordinator's log goes on: they were cut off; if they are meant to be a part of the log, say so with --partial`;
  return { kind: 'cut-off', source: logs.at(-1)?.source ?? '', line: 0, sequence: next, message };
}

function fileSource({ cwd }: Environment, file: string): AuditSource {
  const path = resolve(cwd, file);
  return { name: basename(file), bytes: bytesOf(path) };
}

async function* bytesOf(path: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of createReadStream(path)) yield chunk as Buffer;
  } catch (error) {
    throw toFileError(error, 'read', path);
  }
}

async function readCa(path: string): Promise<Buffer[]> {
  try {
    return certificatesFromPem(await readFile(path, 'utf8'));
  } catch (error) {
    throw toEvercertError(error, 'InvalidCertificate', `cannot read the control CA from ${path}`);
  }
}

function jsonOf({ faults, notes, logs, log, first, last, signed }: AuditReport): string {
  const read = logs.map(({ source, first: from, last: to, entries, checkpoints, signed: upTo }) => ({
    source,
    first: from,
    last: to,
    entries,
    checkpoints,
    signed: upTo,
  }));
  return `${JSON.stringify({ good: faults.length === 0, log, first, last, signed, faults, notes, sources: read }, undefined, 4)}\n`;
}

function textOf(report: AuditReport): string {
  const { faults, notes, logs, log, first, last, signed } = report;
  const lines = [
    ...logs.map(({ source, first: from, last: to, checkpoints }) => `${source}: ${rangeOf(from, to)}, ${checkpoints} signatures`),
    ...notes.map((note) => `note: ${note}`),
    ...faults.map(faultText),
  ];
  const verdict =
    faults.length === 0
      ? `The audit log ${log ?? ''} is as it was written: ${rangeOf(first, last)}, signed up to ${signed}.`
      : `The audit log is NOT as it was written: ${faults.length} ${faults.length === 1 ? 'fault' : 'faults'}.`;
  return [...lines, verdict].map((text) => `${printable(text)}\n`).join('');
}

function rangeOf(first: number, last: number): string {
  return last < first ? 'no entries' : `entries ${first} to ${last}`;
}

function faultText({ source, line: at, sequence, message, kind }: AuditFault): string {
  return `${source}${at > 0 ? `:${at}` : ''}: ${kind} at entry ${sequence}: ${message}`;
}
