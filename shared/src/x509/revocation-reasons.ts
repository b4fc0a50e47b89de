/** Reasons of RFC 5280 section 5.3.1 with their codes; 7 is not in use. removeFromCRL belongs to delta CRLs, which Evercert does not make. */
export const reasonCodes = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  removeFromCRL: 8,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;

export type RevocationReason = keyof typeof reasonCodes;

const byCode = new Map(Object.entries(reasonCodes).map(([reason, code]) => [code as number, reason as RevocationReason]));

export function isRevocationReason(text: string): text is RevocationReason {
  return Object.hasOwn(reasonCodes, text);
}

/** Undefined for a code that RFC 5280 does not list. */
export function reasonOfCode(code: number): RevocationReason | undefined {
  return byCode.get(code);
}
