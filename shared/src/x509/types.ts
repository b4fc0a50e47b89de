import type { KeyObject } from 'node:crypto';

/** Key algorithms that Evercert makes and accepts. The cluster's certificates use P-384 or RSA 4096; P-256 is for Evercert's own identities. */
export const keyAlgorithms = ['ecdsa-p256', 'ecdsa-p384', 'rsa-3072', 'rsa-4096'] as const;
export type KeyAlgorithm = (typeof keyAlgorithms)[number];

/** Beside them, what others made before Evercert came: kubeadm's RSA 2048. Such a CA signs and such a leaf is taken over, but no key of the kind is made or certified. */
export const knownKeyAlgorithms = [...keyAlgorithms, 'rsa-2048'] as const;
export type KnownKeyAlgorithm = (typeof knownKeyAlgorithms)[number];

/** Key usages by Kubernetes' names (certificates.k8s.io/v1 KeyUsage). */
export const usages = ['digital signature', 'key encipherment', 'server auth', 'client auth'] as const;
export type Usage = (typeof usages)[number];

/** What a leaf says, decided by the coordinator. */
export interface LeafProfile {
  commonName: string;
  organizations: string[];
  dnsNames: string[];
  /** Textual addresses, canonical or not. */
  ipAddresses: string[];
  /** URI SANs, for SPIFFE-style identities. */
  uris: string[];
  usages: Usage[];
  /** Where the CA's CRL is, as absolute http URLs of one and the same list: the CRL distribution point. */
  crlUrls?: string[];
  /** Where the CA's OCSP responder answers, and where the CA's own certificate is: authority information access. */
  ocspUrls?: string[];
  caIssuerUrls?: string[];
  /** A delegated OCSP signer (RFC 6960 section 4.2.2.2): only for the CA's own responder, no manifest can ask for it. */
  ocspSigning?: boolean;
  /** The key of the audit log's checkpoints: only for the coordinator's own, no manifest can ask for it. */
  auditSigning?: boolean;
}

/** What goes into a PKCS#12 file. */
export interface Pkcs12Contents {
  /** DER, the leaf first. */
  chain: readonly Buffer[];
  privateKey: KeyObject;
  /** Printable ASCII, not empty. */
  password: string;
  /** Shown by key stores as the entry's alias. */
  friendlyName: string;
}
