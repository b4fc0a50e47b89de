/** Reasons of RFC 5280 section 5.3.1, without removeFromCRL, which belongs to delta CRLs alone. */
export const revocationReasons = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
  'aACompromise',
] as const;

export type RevocationReason = (typeof revocationReasons)[number];
