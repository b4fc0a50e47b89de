import type { ResolvedBundle, ResolvedKeyPair, ResolvedRevocationList } from '@evercert/shared/manifest';
import type { DesiredCertificate } from '../certificates/types.ts';
import type { DesiredHealthCheck } from '../health/checker.ts';

/** CA certificates that the node is to hold in a file. */
export type DesiredBundle = ResolvedBundle & {
  version: number;
  /** DER. */
  certificates: Buffer[];
};

/** A CA's CRL that the node is to hold in a file. */
export type DesiredRevocationList = ResolvedRevocationList & {
  /** CRL number; 0: there is none for now. */
  number: number;
  /** DER. */
  crl: Buffer;
  /** DER, of earlier keys of the CA; for PEM files. */
  earlierCrls: Buffer[];
  /** DER of the CA. */
  trustAnchors: Buffer[];
};

/** A key pair that several nodes share; the private part comes by a call of its own. */
export type DesiredKeyPair = Omit<ResolvedKeyPair, 'keyAlgorithm'> & { version: string };

/** All that the node is to hold. */
export interface DesiredState {
  revision: string;
  certificates: DesiredCertificate[];
  bundles: DesiredBundle[];
  keyPairs: DesiredKeyPair[];
  revocationLists: DesiredRevocationList[];
  /** DER of the control CA, the trust for the coordinator itself. */
  controlTrustAnchors: Buffer[];
  /** By which public keys no coordinator is to be found any more. */
  retiredControlCaPins: string[];
  healthChecks: DesiredHealthCheck[];
  /** Declared, but in a way that this agent does not understand: what is there stays as it is. */
  notUnderstood: { name: string; message: string }[];
  /** Serial number of an identity that is to be renewed now; empty: none is. */
  renewIdentitySerial: string;
}
