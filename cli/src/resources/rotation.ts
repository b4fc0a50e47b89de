/** Rotations of CAs, for people and as objects. */
import type { CertificateAuthorityRotation, RotationNode } from '@evercert/proto';
import { apiVersion } from '@evercert/shared/manifest';
import { roleFromProto } from '@evercert/shared/wire';
import type { Description } from '../output/description.ts';
import { compact, type KubernetesObject } from '../output/objects.ts';
import { orNone } from '../output/table.ts';
import { timeWithAge, timeWithExpiry } from '../output/time.ts';

const nodeHeaders = ['NODE', 'ROLE', 'STATE', 'LEFT', 'CUT-OFF', 'REASON'];

export function isOver({ stage }: CertificateAuthorityRotation): boolean {
  return stage === 'Completed' || stage === 'Aborted';
}

/** `3 of 12 nodes`; empty where nodes are not what it is about. */
export function progressText({ nodes, nodesDone, nodesTotal }: CertificateAuthorityRotation): string {
  const away = nodes.filter(({ state }) => state === 'Away').length;
  if (nodesTotal === 0 && away === 0) return '';
  return `${nodesDone} of ${nodesTotal} nodes${away === 0 ? '' : `, ${away} away`}`;
}

export function nodeRow({ node, role, state, certificatesLeft, cutOff, reason }: RotationNode): string[] {
  return [node, roleFromProto(role) ?? '<unknown>', state, String(certificatesLeft), cutOff ? 'yes' : 'no', orNone(reason)];
}

/** @param everybody with nodes that are through. */
export function rotationDescription(rotation: CertificateAuthorityRotation, nowMs: number, everybody: boolean): Description {
  const { nodes } = rotation;
  const shown = everybody ? nodes : nodes.filter(({ state }) => state !== 'Done');
  const others = nodes.length - shown.length;
  return [
    ['ID', rotation.id],
    ['CA', rotation.cluster === '' ? rotation.certificateAuthority : `${rotation.certificateAuthority} of cluster ${rotation.cluster}`],
    ['Stage', `${rotation.stage}${rotation.stageSince ? `, since ${timeWithAge(rotation.stageSince, nowMs)}` : ''}`],
    ['Begun', `${timeWithAge(rotation.startedAt, nowMs)} by ${rotation.by}`],
    ...(rotation.endedAt ? [['Ended', timeWithAge(rotation.endedAt, nowMs)] as const] : []),
    ['Reason', rotation.note === '' ? rotation.reason : `${rotation.reason}: ${rotation.note}`],
    ['Key', `${rotation.keyAlgorithm}${rotation.intermediate ? ', under a root that is kept offline' : ''}`],
    ['Old Serial', rotation.oldSerial],
    ['New Serial', orNone(rotation.newSerial)],
    ...(rotation.pausedAt ? [['Paused', `${timeWithAge(rotation.pausedAt, nowMs)} by ${rotation.pausedBy}`] as const] : []),
    ...(rotation.deadline ? [['Deadline', timeWithExpiry(rotation.deadline, nowMs)] as const] : []),
    ...(rotation.following.length > 0 ? [['Following', rotation.following] as const] : []),
    ['Waiting For', orNone(rotation.waitingFor)],
    ...(rotation.lastError === '' ? [] : [['Last Error', rotation.lastError] as const]),
    ...(rotation.requestPem === '' ? [] : [['Request', { text: rotation.requestPem }] as const]),
    ...(nodes.length === 0
      ? []
      : ([
          ['Progress', progressText(rotation)],
          ['Nodes', { headers: nodeHeaders, rows: shown.map(nodeRow) }],
        ] as const)),
    ...(others === 0 ? [] : ([['Other Nodes', `${others}, which are through (shown with --all)`]] as const)),
  ];
}

export function rotationObject(rotation: CertificateAuthorityRotation): KubernetesObject {
  const { id, cluster, certificateAuthority, reason, note, keyAlgorithm, intermediate, deadline, following } = rotation;
  return {
    apiVersion,
    kind: 'CertificateAuthorityRotation',
    metadata: { name: id, ...compact({ cluster, creationTimestamp: rotation.startedAt }) },
    spec: compact({ certificateAuthority, reason, note, keyAlgorithm, deadline, following, ...(intermediate && { intermediate }) }),
    status: {
      ...compact({
        stage: rotation.stage,
        stageSince: rotation.stageSince,
        endedAt: rotation.endedAt,
        by: rotation.by,
        oldSerial: rotation.oldSerial,
        newSerial: rotation.newSerial,
        pausedAt: rotation.pausedAt,
        pausedBy: rotation.pausedBy,
        waitingFor: rotation.waitingFor,
        lastError: rotation.lastError,
        request: rotation.requestPem,
      }),
      nodesDone: rotation.nodesDone,
      nodesTotal: rotation.nodesTotal,
      nodes: rotation.nodes.map(({ role, ...node }) => ({
        ...compact({ ...node, role: roleFromProto(role) }),
        certificatesLeft: node.certificatesLeft,
        cutOff: node.cutOff,
      })),
    },
  };
}
