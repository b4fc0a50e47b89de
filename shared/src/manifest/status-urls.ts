/** Where the coordinator serves what tells whether a CA's certificates are revoked. */
export interface StatusUrls {
  crl: string;
  ocsp: string;
  /** The CA's own certificate. */
  certificate: string;
}

/** @param base without a slash at its end. */
export function statusUrls(base: string, cluster: string, issuer: string): StatusUrls {
  return {
    crl: `${base}/crl/${cluster}/${issuer}.crl`,
    ocsp: `${base}/ocsp/${cluster}/${issuer}`,
    certificate: `${base}/ca/${cluster}/${issuer}.crt`,
  };
}
