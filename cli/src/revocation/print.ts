import type { RevocationMatch } from '@evercert/proto';
import { type Environment, line } from '../environment.ts';
import { expiry } from '../output/time.ts';
import { describeReference } from '../resources/references.ts';
import { type Impact, takesControlPlane } from './impact.ts';

/** A line for each live certificate that applied revocations match and for each declared one that would not be issued, then what that means for the cluster. */
export function printRevoked({ out, clock }: Environment, matches: readonly RevocationMatch[], impact: Impact, dryRun: boolean): void {
  for (const { node, certificate, serial, by, future } of matches) {
    const what = future ? `${dryRun ? 'would not be' : 'is not'} issued again` : `(${serial}) ${dryRun ? 'would be' : 'is'} revoked`;
    const end = future ? '' : `; ends ${expiry(impact.ends.get(serial), clock.nowMs())}`;
    line(out, `certificate/${node}/${certificate} ${what}${reason(by)}${end}`);
  }
  for (const text of consequences(impact, dryRun)) line(out, text);
}

function consequences(impact: Impact, dryRun: boolean): string[] {
  const { controlPlane, workers, etcd, repairRefusedBy } = impact;
  const would = dryRun ? 'would lose' : 'lose';
  const texts: string[] = [];
  const hit = (what: string, { all, hit: names }: { all: string[]; hit: string[] }): void => {
    if (names.length > 0) texts.push(`${names.length} of ${all.length} ${what} ${would} certificates at their ends: ${names.join(', ')}`);
  };
  hit('control-plane nodes', controlPlane);
  hit('workers', workers);
  if (takesControlPlane(impact)) texts.push(`no control-plane node ${dryRun ? 'would be' : 'is'} left then`);
  if (etcd.hit.length > 0) {
    const quorum = etcd.quorumLost ? `${dryRun ? 'would lose' : 'loses'} its quorum` : `${dryRun ? 'would keep' : 'keeps'} its quorum`;
    texts.push(`etcd ${quorum}: ${etcd.hit.length} of ${etcd.all.length} members are hit`);
  }
  if (texts.length === 0) return texts;
  const [refusing, ...others] = repairRefusedBy;
  const more = others.length === 0 ? '' : ` and ${others.length} more`;
  texts.push(
    refusing
      ? `'evercert repair' ${dryRun ? 'would be' : 'is'} refused by ${describeReference(refusing)}${more}: set a notBefore there to make it possible`
      : `'evercert repair' ${dryRun ? 'could bring' : 'brings'} them back`,
  );
  texts.push('until they end, certificates stay usable wherever neither CRL nor OCSP is asked: see docs/revocation.md');
  return texts;
}

/** What a deletion no longer refuses. */
export function printReleased({ out }: Environment, released: readonly RevocationMatch[], dryRun: boolean): void {
  for (const { node, certificate, serial, by, future } of released) {
    const what = future
      ? `${dryRun ? 'could be' : 'can be'} issued again`
      : `(${serial}) ${dryRun ? 'would no longer be' : 'is no longer'} revoked`;
    line(out, `certificate/${node}/${certificate} ${what}${reason(by)}`);
  }
}

function reason(by: RevocationMatch['by']): string {
  return by ? `, by ${describeReference(by)}` : '';
}
