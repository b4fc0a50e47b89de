import { canonicalAddress, formatDuration } from '@evercert/shared/config';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import type { CertificateInfo, KeyAlgorithm } from '@evercert/shared/x509';

/** What a certificate in place says otherwise than the manifest would have it issued. */
export interface Difference {
  message: string;
  /** True: the next renewal changes whom it names or what it is good for. False: only its key or its life. */
  telling: boolean;
}

const keyNames: Record<KeyAlgorithm, string> = {
  'ecdsa-p256': 'ECDSA P-256',
  'ecdsa-p384': 'ECDSA P-384',
  'rsa-3072': 'RSA 3072',
  'rsa-4096': 'RSA 4096',
};

type Declared = Pick<
  ResolvedCertificate,
  'commonName' | 'organizations' | 'dnsNames' | 'ipAddresses' | 'usages' | 'keyAlgorithm' | 'lifetimeSeconds'
>;

/** In the order in which they matter; none: the manifest would issue the same. */
export function differencesOf(declared: Declared, info: CertificateInfo): Difference[] {
  const { keyAlgorithm, lifetimeSeconds } = declared;
  const lifeMs = info.notAfter.getTime() - info.notBefore.getTime();
  const isPurpose = (usage: string): boolean => usage.endsWith(' auth');
  return [
    ...ofSet('common name', [info.commonName], [declared.commonName]),
    ...ofSet('organizations', info.organizations, declared.organizations),
    ...ofSet('DNS names', info.dnsNames.map(lowerCase), declared.dnsNames.map(lowerCase)),
    ...ofSet('IP addresses', info.ipAddresses.map(canonical), declared.ipAddresses.map(canonical)),
    ...ofSet('URIs', info.uris, []),
    ...ofSet('purposes', info.usages.filter(isPurpose), declared.usages.filter(isPurpose)),
    ...(info.keyAlgorithm === keyAlgorithm
      ? []
      : [{ message: `key: ${info.keyDescription} becomes ${keyNames[keyAlgorithm]}`, telling: false }]),
    // notBefore is backdated by some minutes, by others too.
    ...(Math.abs(lifeMs - lifetimeSeconds * 1000) <= maxBackdateMs
      ? []
      : [{ message: `life: ${formatDuration(rounded(lifeMs))} becomes ${formatDuration(lifetimeSeconds * 1000)}`, telling: false }]),
  ];
}

const maxBackdateMs = 10 * 60_000;

/** For people: seconds of a life of years are noise. */
function rounded(ms: number): number {
  const unit = ms >= 48 * 3_600_000 ? 3_600_000 : ms >= 3_600_000 ? 60_000 : 1000;
  return Math.round(ms / unit) * unit;
}

function ofSet(what: string, present: readonly string[], wanted: readonly string[]): Difference[] {
  const gone = present.filter((one) => one !== '' && !wanted.includes(one));
  const added = wanted.filter((one) => one !== '' && !present.includes(one));
  if (gone.length === 0 && added.length === 0) return [];
  const parts = [...(gone.length > 0 ? [`loses ${list(gone)}`] : []), ...(added.length > 0 ? [`gains ${list(added)}`] : [])];
  return [{ message: `${what}: ${parts.join(', ')}`, telling: true }];
}

const maxShown = 20;

function list(items: readonly string[]): string {
  const more = items.length > maxShown ? ` and ${items.length - maxShown} more` : '';
  return items.slice(0, maxShown).join(' ') + more;
}

function lowerCase(text: string): string {
  return text.toLowerCase();
}

function canonical(address: string): string {
  return canonicalAddress(address) ?? address;
}
