import { EvercertError } from '@evercert/shared/errors';
import type { Refusal, RevocationMatch } from './types.ts';

/** `entry 2 (Group system:nodes) of RenewRevocation incident-7` */
export function describeMatch({ object, entry, kind, value, notBeforeMs }: RevocationMatch): string {
  const reach = notBeforeMs === undefined ? '' : `, issued before ${new Date(notBeforeMs).toISOString()}`;
  return `entry ${entry + 1} (${kind} ${value}${reach}) of RenewRevocation ${object}`;
}

/** The refusal as the typed error that crosses the wire. Metadata: object, entry (0-based, as in the protocol), kind, value, notBefore. */
export function refusalError(cluster: string, { match, future }: Refusal, nowMs: number): EvercertError {
  const { object, entry, kind, value, notBeforeMs } = match;
  return new EvercertError(
    'Revoked',
    `${whatIsRefused(match, future)} is revoked by ${describeMatch(match)}: ${nextStep(cluster, match, future, nowMs)}`,
    {
      metadata: {
        object,
        entry: String(entry),
        kind,
        value,
        ...(notBeforeMs !== undefined && { notBefore: new Date(notBeforeMs).toISOString() }),
      },
    },
  );
}

/** A call with a revoked identity. */
export function identityRefusal(cluster: string, node: string, serial: string, match: RevocationMatch): EvercertError {
  const { object, entry, kind, value } = match;
  return new EvercertError(
    'Revoked',
    `identity ${serial} of node ${node} is revoked by ${describeMatch(match)}: to let the node have another, make a token for it ('evercert token create --node-name ${node}' in cluster ${cluster}) and hand it to the agent; see docs/revocation.md, 'Repair afterwards'`,
    { metadata: { object, entry: String(entry), kind, value, node, serial } },
  );
}

function whatIsRefused({ description }: RevocationMatch, future: boolean): string {
  const why = description === '' ? '' : ` ("${description}")`;
  return future ? `what would be issued${why}` : `the certificate in use${why}`;
}

function nextStep(cluster: string, { object, notBeforeMs }: RevocationMatch, future: boolean, nowMs: number): string {
  const more = "see docs/revocation.md, 'Repair afterwards'";
  if (!future) return `no renewal while it is the one in use; 'evercert repair ${cluster}' issues a fresh one; ${more}`;
  if (notBeforeMs !== undefined && notBeforeMs > nowMs) return `nothing is issued before that time; ${more}`;
  return `nothing that matches is issued, by repair neither; set a notBefore in the entry and apply it again, or 'evercert delete revocation ${object}'; ${more}`;
}
