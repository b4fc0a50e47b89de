import type { IssuerName } from '@evercert/shared/manifest';
import type { KubernetesObject } from '../core/index.ts';

/** https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/ */
export interface CertificateSigningRequest extends KubernetesObject {
  apiVersion?: string;
  kind?: string;
  spec: {
    /** PEM, base64. */
    request: string;
    signerName: string;
    /** Servers before 1.22 do not know it. */
    expirationSeconds?: number;
    usages?: string[];
    username?: string;
    uid?: string;
    groups?: string[];
    extra?: Record<string, string[]>;
  };
  status?: {
    conditions?: Condition[];
    /** PEM, base64. */
    certificate?: string;
  };
}

export interface Condition {
  type: 'Approved' | 'Denied' | 'Failed';
  status: string;
  reason?: string;
  message?: string;
  lastUpdateTime?: string;
}

export type SignerKind = 'client-kubelet' | 'kubelet-serving' | 'client' | 'own';

/** A signer that the bridge serves. */
export interface Signer {
  name: string;
  kind: SignerKind;
  ca: IssuerName;
}

/** Who made the request, as the API server knows him. */
export interface Requester {
  username: string;
  uid: string;
  groups: readonly string[];
  extra: Readonly<Record<string, readonly string[]>>;
}

/** What a request asks for. */
export interface RequestedCertificate {
  commonName: string;
  organizations: readonly string[];
  dnsNames: readonly string[];
  /** Canonical. */
  ipAddresses: readonly string[];
  uris: readonly string[];
  /** Alternative names of other kinds: e-mail addresses and what nobody uses. */
  otherNames: number;
  /** Kubernetes' words, as the request has them. */
  usages: readonly string[];
}
