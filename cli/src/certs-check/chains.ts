import { EvercertError } from '@evercert/shared/errors';
import { type CertificateInfo, parseCertificate, verifyChain } from '@evercert/shared/x509';
import type { FoundCertificate } from './types.ts';

/** verifyChain's own bound. */
const maxChain = 8;

export interface Anchor {
  info: CertificateInfo;
  path: string;
}

export type ChainResult = { status: 'verified'; anchor: Anchor } | { status: 'root' } | { status: 'broken'; message: string };

/** Finds a certificate's way to a CA: over what follows it in its file, then over any CA of the folder. */
export class ChainFinder {
  readonly #anchors = new Map<string, Anchor[]>();
  readonly #intermediates = new Map<string, CertificateInfo[]>();

  /** `trusted`: CAs that were named; those of the folder are trusted if they are signed by themselves. */
  constructor(certificates: readonly FoundCertificate[], trusted: readonly Anchor[]) {
    for (const anchor of trusted) append(this.#anchors, anchor.info.subject, anchor);
    // A CA is known by its own file, where there is one, rather than by a kubeconfig that embeds it.
    for (const { info, path } of certificates.toSorted((a, b) => Number(a.embeddedCa) - Number(b.embeddedCa))) {
      if (!info.isCa) continue;
      if (info.issuer !== info.subject) append(this.#intermediates, info.subject, info);
      else if (!this.#known(info)) append(this.#anchors, info.subject, { info, path });
    }
  }

  /** Judged at the given time, or at the nearest one within the certificate's own life: that it has ended is another matter. */
  find({ info, following }: Pick<FoundCertificate, 'info' | 'following'>, nowMs: number): ChainResult {
    const atMs = Math.min(Math.max(nowMs, info.notBefore.getTime()), info.notAfter.getTime());
    if (info.isCa && info.issuer === info.subject) return tried([info.der], info.der, atMs) ?? { status: 'root' };
    const chain = this.#build(info, following.map(parseCertificate));
    const { issuer } = chain.at(-1)!;
    const candidates = this.#anchors.get(issuer) ?? [];
    if (info.issuer === info.subject) return { status: 'broken', message: 'it is signed by itself and is no CA' };
    let failure: ChainResult | undefined;
    for (const anchor of candidates) {
      const result = tried(
        chain.map(({ der }) => der),
        anchor.info.der,
        atMs,
      );
      if (!result) return { status: 'verified', anchor };
      failure ??= result;
    }
    return failure ?? { status: 'broken', message: `no CA "${issuer}" is in the folder: name its file with --ca` };
  }

  #build(leaf: CertificateInfo, following: readonly CertificateInfo[]): CertificateInfo[] {
    const chain = [leaf];
    while (chain.length < maxChain) {
      const last = chain.at(-1)!;
      if (this.#anchors.has(last.issuer)) break;
      const pool = [...following, ...(this.#intermediates.get(last.issuer) ?? [])].filter(
        (one) => one.subject === last.issuer && !chain.includes(one),
      );
      const next = pool.find((one) => one.subjectKeyId !== undefined && one.subjectKeyId === last.authorityKeyId) ?? pool[0];
      if (!next) break;
      chain.push(next);
    }
    return chain;
  }

  #known({ subject, der }: CertificateInfo): boolean {
    return this.#anchors.get(subject)?.some((anchor) => anchor.info.der.equals(der)) ?? false;
  }
}

function append<T>(map: Map<string, T[]>, key: string, item: T): void {
  const items = map.get(key);
  if (items) items.push(item);
  else map.set(key, [item]);
}

/** Undefined when the chain leads to the anchor. */
function tried(chain: Buffer[], anchor: Buffer, atMs: number): ChainResult | undefined {
  try {
    verifyChain({ chain, anchors: [anchor], atMs });
    return undefined;
  } catch (error) {
    if (error instanceof EvercertError) return { status: 'broken', message: error.message };
    throw error;
  }
}
