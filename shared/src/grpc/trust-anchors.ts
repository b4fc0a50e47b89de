import type { Clock } from '../clock/index.ts';
import { EvercertError } from '../errors/index.ts';
import { matchesPin, parseCertificate, verifyChain } from '../x509/index.ts';
import { presentedChain, type ServerPlace } from './presented-chain.ts';

export interface PinnedServer extends ServerPlace {
  /** `sha256:` and the SHA-256 of a CA's SubjectPublicKeyInfo; one match suffices. */
  pins: string[];
  clock: Clock;
}

/**
 * Finds the CA that the pins name in the chain that the server presents, and checks that it really signed the server's certificate. Nothing is sent before that: the caller then
 * opens a connection that trusts this CA alone. A pin names a key: of a CA that was rotated it may be found in the certificate that the CA before gave it. The counterpart of
 * `kubeadm join --discovery-token-ca-cert-hash`.
 *
 * Errors: Unavailable (nobody answers, no TLS), PinMismatch (another CA), InvalidCertificate (the chain does not verify).
 */
export async function fetchTrustAnchors(server: PinnedServer): Promise<Buffer[]> {
  const chain = await presentedChain(server);
  const anchors = chain.filter((der) => matchesPin(der, server.pins) && parseCertificate(der).isCa);
  if (anchors.length === 0) {
    const place = `${server.host}:${server.port}`;
    throw new EvercertError(
      'PinMismatch',
      `${place} presents no CA with one of the pinned public keys (${server.pins.join(', ')}): check that the address is the coordinator's and compare the pin with 'evercert token create'`,
      { metadata: { server: place } },
    );
  }
  verifyChain({ chain, anchors, atMs: server.clock.nowMs(), usage: 'server auth' });
  return anchors;
}
