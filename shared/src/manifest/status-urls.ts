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

/**
 * The same of one key of the CA, where it has had several: `…/CA/SERIAL.crl`. The URLs without a serial are those of its first key.
 *
 * @param serial of the CA's certificate, hexadecimal.
 */
export function generationUrl(url: string, serial: string): string {
  return url.replace(/\.(crl|crt)$/, `/${serial}.$1`);
}
