import type { RevocationReason } from '@evercert/shared/revocation';
import type { CrlEntry } from '@evercert/shared/x509';

/** Times in a CRL have whole seconds. */
const second = 1000;

export function crlEntry({ serial, revokedAtMs, reason }: { serial: string; revokedAtMs: number; reason: RevocationReason }): CrlEntry {
  return { serial, revokedAt: new Date(Math.floor(revokedAtMs / second) * second), reason };
}

/** True if both lists say the same of the same certificates, in whatever order. */
export function sameEntries(a: readonly CrlEntry[], b: readonly CrlEntry[]): boolean {
  if (a.length !== b.length) return false;
  const known = new Map(a.map((entry) => [entry.serial, entry]));
  return b.every(({ serial, revokedAt, reason }) => {
    const other = known.get(serial);
    return other?.reason === reason && other.revokedAt.getTime() === revokedAt.getTime();
  });
}

/** Entries of `before` whose serials are not in `now`. */
export function goneEntries(before: readonly CrlEntry[], now: readonly CrlEntry[]): CrlEntry[] {
  const present = new Set(now.map(({ serial }) => serial));
  return before.filter(({ serial }) => !present.has(serial));
}
