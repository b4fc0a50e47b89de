import { connect, type DetailedPeerCertificate } from 'node:tls';
import type { Clock } from '../clock/index.ts';
import { EvercertError } from '../errors/index.ts';
import { matchesPin, parseCertificate, verifyChain } from '../x509/index.ts';

export interface PinnedServer {
  host: string;
  port: number;
  /** `sha256:` and the SHA-256 of a CA's SubjectPublicKeyInfo; one match suffices. */
  pins: string[];
  timeoutMs: number;
  clock: Clock;
}

/** A chain longer than this is no server of ours. */
const maxChain = 10;

/**
 * Finds the CA that the pins name in the chain that the server presents, and checks that it really signed the server's certificate. Nothing is sent before that: the caller then
 * opens a connection that trusts this CA alone. The counterpart of `kubeadm join --discovery-token-ca-cert-hash`.
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

function presentedChain({ host, port, timeoutMs }: PinnedServer): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const fail = (message: string, cause?: unknown): void => {
      socket.destroy();
      reject(new EvercertError('Unavailable', `cannot reach the coordinator at ${host}:${port}: ${message}`, { cause }));
    };
    // The certificate is judged by its pin once it is here; no byte of ours is sent on this connection.
    const socket = connect({ host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3', timeout: timeoutMs });
    socket.once('timeout', () => fail(`no answer within ${timeoutMs} ms`));
    socket.once('error', (error) => fail(error.message, error));
    socket.once('secureConnect', () => {
      const chain = unroll(socket.getPeerCertificate(true));
      socket.destroy();
      resolve(chain);
    });
  });
}

function unroll(leaf: DetailedPeerCertificate): Buffer[] {
  const chain: Buffer[] = [];
  let current: DetailedPeerCertificate | undefined = leaf;
  while (current?.raw && chain.length < maxChain) {
    chain.push(current.raw);
    current = current.issuerCertificate === current ? undefined : current.issuerCertificate;
  }
  return chain;
}
