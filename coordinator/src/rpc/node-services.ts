import type {
  AcquireRestartLeaseRequest,
  AcquireRestartLeaseResponse,
  ConnectRequest,
  ConnectResponse,
  EnrollmentServiceServer,
  EnrollRequest,
  EnrollResponse,
  GetKeyPairRequest,
  GetKeyPairResponse,
  IssueCertificateRequest,
  IssueCertificateResponse,
  NodeServiceServer,
  ReleaseRestartLeaseRequest,
  ReleaseRestartLeaseResponse,
  RenewIdentityRequest,
  RenewIdentityResponse,
} from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { roleFromProto, roleToProto } from '@evercert/shared/wire';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { ControlCa } from '../ca/control-ca.ts';
import type { KeyPairs } from '../clusters/key-pairs.ts';
import { identityName, type NodeIdentities } from '../enrollment/identities.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { renewalSource } from '../events/renewal-log.ts';
import type { Adoptions } from '../issuance/adoption.ts';
import type { DeclaredCertificates } from '../issuance/declared.ts';
import type { NodeHub, NodeLink } from '../nodes/hub.ts';
import type { RestartLeases } from '../nodes/restart-lease.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { adoptCertificate } from './adoption.ts';
import { type CallContext, type Guard, nodeOf } from './guard.ts';

export interface NodeServicesOptions {
  guard: Guard;
  hub: NodeHub;
  identities: NodeIdentities;
  declared: DeclaredCertificates;
  keyPairs: KeyPairs;
  events: EventRecorder;
  revocations: Revocations;
  restarts: RestartLeases;
  adoptions: Adoptions;
  /** Unavailable: this coordinator does not reach its store, and could do nothing for the caller. */
  checkStore: () => void;
  controlCa: ControlCa;
}

/** Messages that wait for a slow agent; beyond, its stream is ended. */
const maxWaiting = 64;

export function enrollmentService({ guard, identities, events, controlCa }: NodeServicesOptions): EnrollmentServiceServer {
  const enroll = async (request: EnrollRequest, context: CallContext): Promise<EnrollResponse> => {
    const role = roleFromProto(request.role);
    try {
      const { record, node } = await identities.enroll({
        token: request.token,
        nodeName: request.nodeName,
        csr: request.csr,
        addresses: request.facts?.addresses ?? [],
        role,
      });
      return {
        chain: identities.chainOf(record),
        trustAnchors: controlCa.anchors(),
        cluster: node.cluster,
        role: roleToProto(node.role),
        issuedAt: new Date(record.issuedAtMs),
      };
    } catch (error) {
      if (error instanceof EvercertError && error.code !== 'Overloaded') {
        const message = `refused to let node "${request.nodeName.slice(0, 63)}" join from ${context.peer}: ${error.message}`;
        const address = context.peer.replace(/:\d+$/, '');
        // One party for all strangers: addresses are cheap.
        events.recordOncePerMinute('anonymous', ['JoinRefused', address, error.code], {
          actor: 'anonymous',
          reason: 'JoinRefused',
          warning: true,
          errorCode: error.code,
          message,
          details: { peer: context.peer },
        });
      }
      throw error;
    }
  };
  return { enroll: guard.unary(enroll) };
}

export function nodeService({
  guard,
  hub,
  identities,
  declared,
  keyPairs,
  events,
  revocations,
  restarts,
  adoptions,
  controlCa,
  checkStore,
}: NodeServicesOptions): NodeServiceServer {
  const issueCertificate = async (request: IssueCertificateRequest, context: CallContext): Promise<IssueCertificateResponse> => {
    const { cluster, name: node, role, serial } = nodeOf(context);
    try {
      const record = await declared.issue({ cluster, node, identitySerial: serial, ...request });
      return { chain: declared.chainOf(record), issuedAt: new Date(record.issuedAtMs), notAfter: new Date(record.notAfterMs) };
    } catch (error) {
      if (error instanceof EvercertError && !error.retryable) {
        const certificate = request.name.slice(0, 63);
        const message = `refused to issue ${certificate}: ${error.message}`;
        const actor = `node/${cluster}/${node}`;
        events.recordOncePerMinute(actor, ['IssueRefused', certificate, error.code], {
          cluster,
          node,
          actor,
          reason: error.code === 'Revoked' ? 'RenewalRefused' : 'IssueRefused',
          source: renewalSource(role),
          warning: true,
          certificate,
          message,
          errorCode: error.code,
        });
      }
      throw error;
    }
  };

  const renewIdentity = async ({ csr }: RenewIdentityRequest, context: CallContext): Promise<RenewIdentityResponse> => {
    const { cluster, name, role, serial } = nodeOf(context);
    const record = await identities.renew({ cluster, name }, csr, serial).catch((error: unknown) => {
      if (error instanceof EvercertError && error.code === 'Revoked') {
        const actor = `node/${cluster}/${name}`;
        events.recordOncePerMinute(actor, ['RenewalRefused', error.code], {
          cluster,
          node: name,
          actor,
          reason: 'RenewalRefused',
          source: renewalSource(role),
          warning: true,
          certificate: identityName,
          message: `refused to renew the identity: ${error.message}`,
          errorCode: error.code,
        });
      }
      throw error;
    });
    return { chain: identities.chainOf(record), trustAnchors: controlCa.anchors(), issuedAt: new Date(record.issuedAtMs) };
  };

  const getKeyPair = async ({ name }: GetKeyPairRequest, context: CallContext): Promise<GetKeyPairResponse> => {
    const { cluster, name: node } = nodeOf(context);
    // What it remembers may be old, and the node may have been shut out since.
    checkStore();
    const pair = await keyPairs.handOut(cluster, node, name);
    const actor = `node/${cluster}/${node}`;
    const message = `sent key pair ${name} to ${node}`;
    events.recordOncePerMinute(actor, ['KeyPairSent', name], { cluster, node, actor, reason: 'KeyPairSent', message });
    return pair;
  };

  const acquireRestartLease = async (
    { component, duration }: AcquireRestartLeaseRequest,
    context: CallContext,
  ): Promise<AcquireRestartLeaseResponse> => {
    const { cluster, name: node } = nodeOf(context);
    const durationMs = duration ? duration.seconds * 1000 + Math.floor(duration.nanos / 1e6) : 0;
    const { expiresAtMs } = await restarts.acquire({ cluster, node, component, durationMs });
    return { expiresAt: new Date(expiresAtMs) };
  };

  const releaseRestartLease = async (
    { serving }: ReleaseRestartLeaseRequest,
    context: CallContext,
  ): Promise<ReleaseRestartLeaseResponse> => {
    const { cluster, name: node } = nodeOf(context);
    await restarts.release({ cluster, node, serving });
    return {};
  };

  const connect = async (call: ServerDuplexStream<ConnectRequest, ConnectResponse>, context: CallContext): Promise<void> => {
    const { cluster, name } = nodeOf(context);
    checkStore();
    const link = streamLink(call, cluster, name, (error) => guard.fail(call, error, context));
    hub.attach(link);
    // An agent may be silent for long: its revoked identity must not wait for its next word.
    const stopChecking = revocations.subscribe((changed) => {
      if (changed !== cluster) return;
      try {
        context.recheck();
      } catch (error) {
        guard.fail(call, error, context);
      }
    });
    try {
      for await (const message of call as AsyncIterable<ConnectRequest>) {
        context.recheck();
        await hub.receive(link, message);
      }
    } catch (error) {
      // An agent that goes away ends its stream in many ways; none of them is a fault of ours.
      if (!context.signal.aborted && !call.destroyed) throw error;
    } finally {
      stopChecking();
      hub.detach(link);
    }
  };

  return {
    issueCertificate: guard.unary(issueCertificate),
    renewIdentity: guard.unary(renewIdentity),
    getKeyPair: guard.unary(getKeyPair),
    adoptCertificate: guard.unary((request, context) => adoptCertificate(request, context, { adoptions, events })),
    acquireRestartLease: guard.unary(acquireRestartLease),
    releaseRestartLease: guard.unary(releaseRestartLease),
    connect: guard.stream(connect),
  };
}

function streamLink(
  call: ServerDuplexStream<ConnectRequest, ConnectResponse>,
  cluster: string,
  node: string,
  fail: (error: EvercertError) => void,
): NodeLink {
  let waiting = 0;
  return {
    cluster,
    node,
    send(message) {
      if (call.destroyed || call.writableEnded) return;
      waiting += 1;
      call.write(message, () => {
        waiting -= 1;
      });
      if (waiting > maxWaiting) fail(new EvercertError('Overloaded', 'the agent reads too slowly', { retryAfterMs: 5000 }));
    },
    end(error) {
      if (error) fail(error);
      else if (!call.writableEnded) call.end();
    },
  };
}
