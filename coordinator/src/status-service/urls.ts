import { issuers } from '@evercert/shared/manifest';

/** What is served, and nothing else. */
export interface StatusResource {
  kind: 'crl' | 'ocsp' | 'certificate';
  cluster: string;
  issuer: string;
  /** Serial of the CA's certificate whose CRL or whose certificate is asked for; undefined: none is named. */
  generation: string | undefined;
  /** Of OCSP: what follows the CA. */
  rest: string;
}

const pattern = /^\/(crl|ocsp|ca)\/([a-z0-9-]{1,63})\/([a-z0-9-]{1,63})(\.crl|\.crt|\/.*)?$/;
const ofGeneration = /^\/([0-9a-f]{2,40})(\.crl|\.crt)$/;

/**
 * Takes a request's path apart: `/crl/CLUSTER/CA.crl`, `/ca/CLUSTER/CA.crt`, each also with a generation as `/crl/CLUSTER/CA/SERIAL.crl`, and `/ocsp/CLUSTER/CA` with whatever follows a
 * slash. Undefined for everything else.
 */
export function statusResource(path: string): StatusResource | undefined {
  const [, first = '', cluster = '', issuer = '', rest = ''] = pattern.exec(path) ?? [];
  if (!(issuers as readonly string[]).includes(issuer)) return undefined;
  if (first === 'ocsp') {
    return rest === '' || rest.startsWith('/') ? { kind: 'ocsp', cluster, issuer, generation: undefined, rest: rest.slice(1) } : undefined;
  }
  const [, generation, suffix = rest] = ofGeneration.exec(rest) ?? [];
  const kind = first === 'crl' ? 'crl' : 'certificate';
  return suffix === (kind === 'crl' ? '.crl' : '.crt') ? { kind, cluster, issuer, generation, rest: '' } : undefined;
}
