import type { AdminServiceServer } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import type { Guard } from './guard.ts';

export interface RotationServiceOptions {
  guard: Guard;
}

type RotationMethods =
  | 'rotateCertificateAuthority'
  | 'listCertificateAuthorityRotations'
  | 'setCertificateAuthorityRotation'
  | 'installCertificateAuthorityCertificate';

/** The part of the admin API that is about rotations of CAs. */
export function rotationMethods({ guard }: RotationServiceOptions): Pick<AdminServiceServer, RotationMethods> {
  const notYet = (): never => {
    throw new EvercertError('FailedPrecondition', 'this coordinator rotates no CAs');
  };
  return {
    rotateCertificateAuthority: guard.unary(async () => notYet()),
    listCertificateAuthorityRotations: guard.unary(async () => ({ rotations: [] })),
    setCertificateAuthorityRotation: guard.unary(async () => notYet()),
    installCertificateAuthorityCertificate: guard.unary(async () => notYet()),
  };
}
