import { type AdminServiceServer, type CertificateAuthorityRotation, RotationAction as ProtoAction } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { oneOf, roleToProto } from '@evercert/shared/wire';
import { keyAlgorithms } from '@evercert/shared/x509';
import type { RotationAction, Rotations, RotationView } from '../rotation/index.ts';
import { layout } from '../state/layout.ts';
import { actorOf } from './callers.ts';
import type { Guard } from './guard.ts';

export interface RotationServiceOptions {
  guard: Guard;
  rotations: Rotations;
}

type RotationMethods =
  | 'rotateCertificateAuthority'
  | 'listCertificateAuthorityRotations'
  | 'setCertificateAuthorityRotation'
  | 'installCertificateAuthorityCertificate';

const reasons = ['requested', 'compromise'] as const;
const maxDeadlineMs = 365 * 86_400_000;
/** Nodes of one rotation that are told of, those that are waited for first: an answer of gRPC has 4 MiB. */
const maxNodes = 10_000;
const maxNote = 1000;

/** The part of the admin API that is about rotations of CAs. */
export function rotationMethods({ guard, rotations }: RotationServiceOptions): Pick<AdminServiceServer, RotationMethods> {
  return {
    rotateCertificateAuthority: guard.unary(async ({ cluster, certificateAuthorities, reason, note, keyAlgorithm, ...rest }, context) => {
      const afterMs = deadlineOf(rest.deadline);
      const order = {
        cluster,
        authorities: certificateAuthorities,
        reason: oneOf(reasons, 'reason', reason, 'requested'),
        note: note.slice(0, maxNote),
        ...(keyAlgorithm !== '' && { keyAlgorithm: oneOf(keyAlgorithms, 'key_algorithm', keyAlgorithm, 'ecdsa-p384') }),
        intermediate: rest.intermediate,
        ...(afterMs !== undefined && { deadlineAfterMs: afterMs }),
        dryRun: rest.dryRun,
      };
      const answer = await rotations.rotate(order, actorOf(context.caller));
      return { ...answer, rotations: answer.rotations.map(rotationToProto) };
    }),
    listCertificateAuthorityRotations: guard.unary(async ({ cluster, id, all }) => ({
      rotations: rotations.list(cluster, id, all).map(rotationToProto),
    })),
    setCertificateAuthorityRotation: guard.unary(async ({ id, action, deadline, reason }, context) => ({
      rotation: rotationToProto(await rotations.set(id, actionOf(action, deadline), reason.slice(0, maxNote), actorOf(context.caller))),
    })),
    installCertificateAuthorityCertificate: guard.unary(async ({ id, chainPem }, context) => ({
      rotation: rotationToProto(await rotations.install(id, chainPem, actorOf(context.caller))),
    })),
  };
}

interface WireDuration {
  seconds: number;
  nanos: number;
}

/** Undefined: there is none. */
function deadlineOf(duration: WireDuration | undefined): number | undefined {
  if (!duration) return undefined;
  const ms = duration.seconds * 1000 + Math.floor(duration.nanos / 1e6);
  if (ms > 0 && ms <= maxDeadlineMs) return ms;
  throw new EvercertError('InvalidArgument', 'deadline: expected more than 0 s and at most 365 days');
}

function actionOf(action: ProtoAction, deadline: WireDuration | undefined): RotationAction {
  switch (action) {
    case ProtoAction.PAUSE:
      return { type: 'pause' };
    case ProtoAction.RESUME:
      return { type: 'resume' };
    case ProtoAction.ABORT:
      return { type: 'abort' };
    case ProtoAction.SET_DEADLINE:
      return { type: 'deadline', afterMs: deadlineOf(deadline) };
    default:
      throw new EvercertError('InvalidArgument', 'action: expected pause, resume, abort or set deadline');
  }
}

function rotationToProto({ record, nodes, waitingFor }: RotationView): CertificateAuthorityRotation {
  const { id, cluster, authority, stage, by, reason, note, keyAlgorithm, oldSerial, newSerial } = record;
  const isControl = cluster === layout.controlScope;
  const rank = { Behind: 0, Waiting: 1, Away: 2, Done: 3 };
  const counted = nodes.filter(({ state }) => state !== 'Away');
  return {
    id,
    cluster: isControl ? '' : cluster,
    certificateAuthority: authority,
    stage,
    stageSince: new Date(record.stageSinceMs),
    startedAt: new Date(record.startedAtMs),
    endedAt: dateOf(record.endedAtMs),
    by,
    reason,
    note,
    keyAlgorithm,
    intermediate: record.intermediate ?? false,
    oldSerial,
    newSerial,
    pausedAt: dateOf(record.pausedAtMs),
    pausedBy: record.pausedBy ?? '',
    deadline: dateOf(record.deadlineMs),
    nodes: [...nodes]
      .sort((a, b) => rank[a.state] - rank[b.state])
      .slice(0, maxNodes)
      .map(({ cluster: of, node, role, ...rest }) => ({ node: isControl ? `${of}/${node}` : node, role: roleToProto(role), ...rest })),
    waitingFor,
    lastError: record.lastError ?? '',
    nodesDone: counted.filter(({ state }) => state === 'Done').length,
    nodesTotal: counted.length,
    requestPem: stage === 'AwaitingCertificate' ? (record.request?.pem ?? '') : '',
    following: record.following ?? [],
  };
}

function dateOf(ms: number | undefined): Date | undefined {
  return ms === undefined ? undefined : new Date(ms);
}
