import { connect, createSecureContext, type DetailedPeerCertificate, type SecureContext, type TLSSocket } from 'node:tls';
import { EvercertError } from '../errors/index.ts';

export interface ServerPlace {
  host: string;
  port: number;
  timeoutMs: number;
}

/** A chain longer than this is no server of ours, and `verifyChain` takes no longer one. */
const maxChain = 8;

/** What the other side of a connection presented, DER, from the leaf upwards, as far as one certificate issued the one before. */
export function presentedBy(socket: TLSSocket): Buffer[] {
  const chain: Buffer[] = [];
  let current: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true);
  while (current?.raw && chain.length < maxChain) {
    chain.push(current.raw);
    current = current.issuerCertificate === current ? undefined : current.issuerCertificate;
  }
  return chain;
}

/**
 * The chain that a server presents to a new connection, on which no byte of ours is sent.
 *
 * @param secureContext the server has to prove itself by what it trusts. Undefined: the caller judges the chain.
 * Errors: Unavailable (nobody answers, no TLS, not proved).
 */
export function presentedChain({ host, port, timeoutMs }: ServerPlace, secureContext?: SecureContext): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const fail = (message: string, cause?: unknown): void => {
      socket.destroy();
      reject(new EvercertError('Unavailable', `cannot reach the coordinator at ${host}:${port}: ${message}`, { cause }));
    };
    const trust = secureContext ? { secureContext } : { rejectUnauthorized: false };
    const socket = connect({ host, port, ...trust, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3', timeout: timeoutMs });
    socket.once('timeout', () => fail(`no answer within ${timeoutMs} ms`));
    socket.once('error', (error) => fail(error.message, error));
    socket.once('secureConnect', () => {
      const chain = presentedBy(socket);
      socket.destroy();
      resolve(chain);
    });
  });
}

/** A client's context that trusts exactly these anchors, self-signed or not: a cross certificate stands for its key as well as a root does. */
export function clientContext(trustAnchors: readonly string[], own: { cert?: string; key?: string } = {}): SecureContext {
  return createSecureContext({ ca: [...trustAnchors], allowPartialTrustChain: true, ...own, minVersion: 'TLSv1.3' });
}
