import { issuers } from '@evercert/shared/manifest';

/** What is served, and nothing else. */
export type StatusResource = { kind: 'crl' | 'ocsp' | 'certificate'; cluster: string; issuer: string; rest: string };

const pattern = /^\/(crl|ocsp|ca)\/([a-z0-9-]{1,63})\/([a-z0-9-]{1,63})(\.crl|\.crt|\/.*)?$/;

/**
 * Takes a request's path apart: `/crl/CLUSTER/CA.crl`, `/ca/CLUSTER/CA.crt`, `/ocsp/CLUSTER/CA` with whatever follows a slash. Undefined for everything else.
 */
export function statusResource(path: string): StatusResource | undefined {
  const [, first = '', cluster = '', issuer = '', rest = ''] = pattern.exec(path) ?? [];
  if (!(issuers as readonly string[]).includes(issuer)) return undefined;
  if (first === 'crl') return rest === '.crl' ? { kind: 'crl', cluster, issuer, rest: '' } : undefined;
  if (first === 'ca') return rest === '.crt' ? { kind: 'certificate', cluster, issuer, rest: '' } : undefined;
  return rest === '' || rest.startsWith('/') ? { kind: 'ocsp', cluster, issuer, rest: rest.slice(1) } : undefined;
}
