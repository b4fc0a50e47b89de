/** Bounds that every manifest keeps. */
export const manifestLimits = {
  /** ub-common-name and ub-organization-name of RFC 5280, appendix A.1. */
  nameLength: 64,
  /** Subject alternative names of one certificate. */
  names: 100,
  manifests: 200,
  revocationEntries: 1000,
  revocationEntriesOfCluster: 100_000,
  minLifetimeSeconds: 10,
  /** Life of the issuing CAs: ten years of 365 days. */
  maxLifetimeSeconds: 3650 * 86_400,
  minRenewAt: 0.1,
  maxRenewAt: 0.9,
  /** PATH_MAX of Linux, without room for its end. */
  pathLength: 4000,
} as const;
