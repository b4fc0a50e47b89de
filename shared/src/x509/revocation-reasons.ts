import type { RevocationReason } from '../revocation/reasons.ts';

/** What a CRL of any CA may say. removeFromCRL belongs to delta CRLs, which Evercert does not make. */
export type CrlReason = RevocationReason | 'removeFromCRL';

/** The codes of RFC 5280 section 5.3.1; 7 is not in use. */
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
} as const satisfies Record<CrlReason, number>;

const byCode = new Map(Object.entries(reasonCodes).map(([reason, code]) => [code as number, reason as CrlReason]));

/** Undefined for a code that RFC 5280 does not list. */
export function reasonOfCode(code: number): CrlReason | undefined {
  return byCode.get(code);
}
