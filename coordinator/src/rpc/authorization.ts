import { EvercertError } from '@evercert/shared/errors';
import { identityNotValid } from '@evercert/shared/wire';
import type { Caller } from './callers.ts';

/** Who may call: `anyone` also without a client certificate; `control-plane` is a node of that role. */
export type Who = 'anyone' | 'node' | 'control-plane' | 'admin';

/**
 * Every RPC and who may call it. An RPC that is not listed is refused (a test holds this table against the protocol, so that a new RPC without a row fails the build).
 * That a node speaks of itself alone is by the protocol: no node RPC has a field for another node.
 */
export const authorization: Readonly<Record<string, readonly Who[]>> = {
  '/evercert.v1.EnrollmentService/Enroll': ['anyone'],

  // Expired identities open no mTLS; the proof is in the call.
  '/evercert.v1.RecoveryService/BeginRecovery': ['anyone'],
  '/evercert.v1.RecoveryService/Recover': ['anyone'],

  '/evercert.v1.NodeService/Connect': ['node'],
  '/evercert.v1.NodeService/IssueCertificate': ['node'],
  '/evercert.v1.NodeService/RenewIdentity': ['node'],
  '/evercert.v1.NodeService/GetKeyPair': ['control-plane'],
  '/evercert.v1.NodeService/AdoptCertificate': ['node'],
  '/evercert.v1.NodeService/AcquireRestartLease': ['control-plane'],
  '/evercert.v1.NodeService/ReleaseRestartLease': ['control-plane'],

  '/evercert.v1.AdminService/CreateCluster': ['admin'],
  '/evercert.v1.AdminService/ImportCluster': ['admin'],
  '/evercert.v1.AdminService/DeleteCluster': ['admin'],
  '/evercert.v1.AdminService/ListClusters': ['admin'],
  '/evercert.v1.AdminService/ListCertificateAuthorities': ['admin'],
  '/evercert.v1.AdminService/ListNodes': ['admin'],
  '/evercert.v1.AdminService/DeleteNode': ['admin'],
  '/evercert.v1.AdminService/SetNodeCordon': ['admin'],
  '/evercert.v1.AdminService/ListCertificates': ['admin'],
  '/evercert.v1.AdminService/RenewCertificates': ['admin'],
  '/evercert.v1.AdminService/Apply': ['admin'],
  '/evercert.v1.AdminService/ListManifests': ['admin'],
  '/evercert.v1.AdminService/DeleteManifest': ['admin'],
  '/evercert.v1.AdminService/Repair': ['admin'],
  '/evercert.v1.AdminService/ListReplacements': ['admin'],
  '/evercert.v1.AdminService/SetReplacementPause': ['admin'],
  '/evercert.v1.AdminService/CancelReplacement': ['admin'],
  '/evercert.v1.AdminService/PlanReplacements': ['admin'],
  '/evercert.v1.AdminService/ListRevocations': ['admin'],
  '/evercert.v1.AdminService/DeleteRevocation': ['admin'],
  '/evercert.v1.AdminService/CreateToken': ['admin'],
  '/evercert.v1.AdminService/ListTokens': ['admin'],
  '/evercert.v1.AdminService/DeleteToken': ['admin'],
  '/evercert.v1.AdminService/ListEvents': ['admin'],
  '/evercert.v1.AdminService/Watch': ['admin'],
  '/evercert.v1.AdminService/RotateCertificateAuthority': ['admin'],
  '/evercert.v1.AdminService/ListCertificateAuthorityRotations': ['admin'],
  '/evercert.v1.AdminService/SetCertificateAuthorityRotation': ['admin'],
  '/evercert.v1.AdminService/InstallCertificateAuthorityCertificate': ['admin'],
  '/evercert.v1.AdminService/ListAuditEntries': ['admin'],
  '/evercert.v1.AdminService/ExportAudit': ['admin'],
  '/evercert.v1.AdminService/ListCoordinators': ['admin'],
  '/evercert.v1.AdminService/CreateBackup': ['admin'],
  '/evercert.v1.AdminService/GetServerInfo': ['admin'],
  '/evercert.v1.AdminService/RenewAdminCertificate': ['admin'],

  '/grpc.health.v1.Health/Check': ['anyone'],
  '/grpc.health.v1.Health/Watch': ['anyone'],
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo': ['admin'],
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': ['admin'],
};

/** Unauthenticated: nobody in particular calls what is not for anyone. PermissionDenied: the caller is not among those who may, or nobody may. */
export function authorize(method: string, caller: Caller): void {
  const allowed = Object.hasOwn(authorization, method) ? (authorization[method] ?? []) : [];
  if (allowed.some((who) => matches(who, caller))) return;
  if (caller.kind === 'anonymous' && allowed.length > 0) {
    throw new EvercertError(
      'Unauthenticated',
      `${method} needs a valid client certificate of the control CA: none was presented, or it has expired or is by a control CA that is not trusted any more`,
      { metadata: { reason: identityNotValid } },
    );
  }
  throw new EvercertError('PermissionDenied', `${caller.kind} identities may not call ${method}`);
}

function matches(who: Who, caller: Caller): boolean {
  if (who === 'anyone') return true;
  if (who === 'control-plane') return caller.kind === 'node' && caller.role === 'control-plane';
  return who === caller.kind;
}
