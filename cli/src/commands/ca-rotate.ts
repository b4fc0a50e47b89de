import type { CertificateAuthorityRotation, RotateCertificateAuthorityResponse } from '@evercert/proto';
import { keyAlgorithms } from '@evercert/shared/x509';
import { type Command, Option } from 'commander';
import { type Environment, line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { absolute, mustBeNew, writeNew } from '../offline-root/files.ts';
import { listOf, renderObject } from '../output/objects.ts';
import { renderTable } from '../output/table.ts';
import { nodeRow, rotationObject } from '../resources/rotation.ts';
import { followRotations } from './ca-follow.ts';
import { type CommandContext, clusterArgument, duration, protoDuration, type Session, withSession } from './session.ts';

interface RotateOptions {
  ca: string;
  reason: 'requested' | 'compromise';
  note: string;
  keyAlgorithm?: string;
  intermediate?: boolean;
  requestFile?: string;
  deadline?: string;
  dryRun?: boolean;
  wait?: boolean;
  output?: 'json' | 'yaml';
}

export const controlCa = 'control-ca';
const ofCluster = ['cluster-ca', 'etcd-ca', 'front-proxy-ca'];

const examples = `
Examples:
  # What would happen, and to whom
  evercert ca rotate demo --ca cluster-ca --dry-run
  # The three CAs of a cluster, one after the other, and wait for the end
  evercert ca rotate demo --ca all --wait
  # The CA of Evercert's own identities; it belongs to no cluster
  evercert ca rotate --ca control-ca
  # To another kind of key
  evercert ca rotate demo --ca etcd-ca --key-algorithm ecdsa-p384
  # Its key may be in strange hands: distrusted once every node that is heard has renewed, a day from now at the latest
  evercert ca rotate demo --ca cluster-ca --reason compromise --deadline 24h
  # The new CA is to stand under a root that is kept offline
  evercert ca rotate demo --ca cluster-ca --intermediate --request-file cluster-ca.csr

Exit code with --wait: 0 when every CA is rotated, 1 when a rotation was aborted.`;

export function addRotateCommand(ca: Command, context: CommandContext): void {
  ca.command('rotate')
    .summary('replace the key of a CA, step by step, without an outage')
    .description(
      'Make a new key and certificate for a CA, have every node trust it beside the present one, issue everything anew by it, and then have the old one trusted no more. Nodes that are away are named and not waited for. It goes on by itself, also when the coordinator restarts; "evercert ca status" shows how far it is.',
    )
    .argument('[cluster]', "cluster of the CAs; by default --cluster or the context's")
    .requiredOption(
      '--ca <names>',
      `${ofCluster.join(', ')}, control-ca, several with commas, in their order, or all (those of the cluster)`,
    )
    .addOption(new Option('--reason <reason>', 'why').choices(['requested', 'compromise']).default('requested'))
    .option('--note <text>', 'more for people', '')
    .addOption(new Option('--key-algorithm <name>', 'of the new key (default: as it is)').choices([...keyAlgorithms]))
    .option('--intermediate', 'the new CA is signed by a root that is kept offline: the rotation gives a request and waits')
    .option('--request-file <file>', 'where the request goes (default: standard output)')
    .option(
      '--deadline <duration>',
      'from the begin of each: nodes that are away are given up then; on compromise, all that are not through are cut off',
    )
    .option('--dry-run', 'say what would happen, and end')
    .option('--wait', 'show progress until the end')
    .addOption(new Option('-o, --output <format>', 'print the rotations as objects').choices(['json', 'yaml']))
    .addHelpText('after', examples)
    .action((named: string | undefined, options: RotateOptions, command: Command) => rotate(command, context, named, options));
}

async function rotate(command: Command, context: CommandContext, named: string | undefined, options: RotateOptions): Promise<void> {
  const { environment } = context;
  const names = namesOf(options.ca);
  const deadlineMs = options.deadline === undefined ? undefined : duration(options.deadline, '--deadline');
  if (options.requestFile !== undefined && !options.intermediate) throw usageError('--request-file goes with --intermediate');
  if (options.requestFile !== undefined) await mustBeNew(absolute(environment, options.requestFile));
  await withSession(command, environment, async (session) => {
    const cluster = clusterFor(command, session, named, names);
    const answer = await session.api.call('rotateCertificateAuthority', {
      cluster,
      certificateAuthorities: names,
      reason: options.reason,
      note: options.note,
      keyAlgorithm: options.keyAlgorithm ?? '',
      intermediate: options.intermediate ?? false,
      deadline: deadlineMs === undefined ? undefined : protoDuration(deadlineMs),
      dryRun: options.dryRun ?? false,
    });
    for (const warning of answer.warnings) line(environment.err, `Warning: ${warning}`);
    if (options.output) environment.out(renderObject(listOf(answer.rotations.map(rotationObject)), options.output));
    else show(answer, options, environment);
    await keepRequests(answer, options, environment);
    const [first] = answer.rotations;
    if (!options.wait || options.dryRun || !first) return;
    const well = await followRotations(session.api, environment, { cluster, first, names, lines: !options.output });
    if (!well) context.exit(1);
  });
}

/** `all`, or names with commas between. */
function namesOf(text: string): string[] {
  const names = text.split(',').flatMap((name) => (name === 'all' ? ofCluster : [name.trim()]));
  const unknown = names.find((name) => name !== controlCa && !ofCluster.includes(name));
  if (unknown !== undefined) throw usageError(`--ca takes ${[...ofCluster, controlCa, 'all'].join(', ')}, got "${unknown}"`);
  return names;
}

/** The control CA alone needs none. */
export function clusterFor(command: Command, session: Session, named: string | undefined, names: readonly string[]): string {
  if (names.every((name) => name === controlCa) && named === undefined) return '';
  return clusterArgument(command, session, named);
}

function show({ rotations }: RotateCertificateAuthorityResponse, { dryRun, wait }: RotateOptions, { out }: Environment): void {
  if (dryRun) {
    for (const rotation of rotations) showPlan(rotation, out);
    return;
  }
  const [first, ...others] = rotations;
  if (!first) return;
  line(out, `rotation/${first.id} begun: ${placeOf(first)}`);
  if (others.length > 0) line(out, `then: ${others.map(({ certificateAuthority }) => certificateAuthority).join(', ')}`);
  if (!wait)
    line(out, `It goes on by itself: evercert ca status${first.cluster === '' ? ' --ca control-ca' : ` ${first.cluster}`} --watch`);
}

function showPlan(rotation: CertificateAuthorityRotation, out: Environment['out']): void {
  const { nodes, keyAlgorithm, reason, deadline } = rotation;
  const left = nodes.reduce((sum, { certificatesLeft }) => sum + certificatesLeft, 0);
  line(
    out,
    `${placeOf(rotation)} would be rotated to a new ${keyAlgorithm} key (${reason}): ${left} certificates on ${nodes.length} nodes renewed`,
  );
  const cutOff = nodes.filter((node) => node.cutOff).map(({ node }) => node);
  if (reason === 'compromise' || deadline)
    line(
      out,
      cutOff.length === 0
        ? 'nobody would be cut off'
        : `cut off until they are repaired, unless they are heard before: ${cutOff.join(', ')}`,
    );
  if (nodes.length === 0) return;
  out(renderTable(['NODE', 'ROLE', 'STATE', 'LEFT', 'CUT-OFF', 'REASON'], nodes.map(nodeRow), { indent: '  ' }));
}

async function keepRequests(
  { requests, rotations }: RotateCertificateAuthorityResponse,
  options: RotateOptions,
  environment: Environment,
): Promise<void> {
  if (!options.intermediate || options.dryRun) return;
  const [first] = rotations;
  const [pem] = Object.values(requests);
  if (!first || pem === undefined) return line(environment.err, 'The request is still being made: evercert ca status shows it.');
  if (options.requestFile === undefined) return environment.out(pem);
  const path = absolute(environment, options.requestFile);
  await writeNew(path, pem, 0o644);
  line(
    environment.out,
    `request of ${first.certificateAuthority} written to ${path}: sign it with "evercert ca sign-request", then give it back with "evercert ca install"`,
  );
}

function placeOf({ cluster, certificateAuthority }: CertificateAuthorityRotation): string {
  return cluster === '' ? certificateAuthority : `${certificateAuthority} of cluster ${cluster}`;
}
