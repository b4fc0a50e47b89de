import type { KeyObject } from 'node:crypto';
import { constants } from 'node:crypto';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { type ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';
import { toEvercertError } from '../errors/index.ts';
import { certificatesToPem, privateKeyToPem } from '../x509/index.ts';
import { ContextChannelCredentials } from './channel-credentials.ts';
import { clientContext, presentedChain, type ServerPlace } from './presented-chain.ts';

export interface ServerIdentity {
  /** DER, leaf first. A root belongs at its end: joining agents find the CA that they pinned there. */
  chain: Buffer[];
  privateKey: KeyObject;
  /** DER of the CAs whose client certificates are accepted. */
  clientAnchors: Buffer[];
}

/** Server credentials whose certificate can be changed while the server runs: new handshakes see the new one, open streams go on. */
export interface HotSwapCredentials {
  readonly credentials: ServerCredentials;
  /** Checks that key and chain match before anything changes. InvalidCertificate when they do not. */
  swap(identity: ServerIdentity): void;
}

/**
 * TLS 1.3 only, no session resumption (a resumed session would skip the check of the client's certificate). A client certificate is asked for but not required,
 * so that nodes without an identity can enrol on the same port: whoever presents none, or an invalid one, is anonymous and the authorization table decides.
 */
class HotSwapServerCredentials extends ServerCredentials {
  constructor(initial: SecureContextOptions) {
    super({ requestCert: true, rejectUnauthorized: false }, initial);
  }

  swap(options: SecureContextOptions): void {
    this.updateSecureContextOptions(options);
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

export function createHotSwapServerCredentials(initial: ServerIdentity): HotSwapCredentials {
  const inner = new HotSwapServerCredentials(contextOptions(initial));
  return { credentials: inner, swap: (identity) => inner.swap(contextOptions(identity)) };
}

function contextOptions({ chain, privateKey, clientAnchors }: ServerIdentity): SecureContextOptions {
  const options: SecureContextOptions = {
    cert: certificatesToPem(chain),
    key: privateKeyToPem(privateKey),
    ca: clientAnchors.map(toPem),
    minVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
  try {
    // A mismatched pair that reached the listener would end all new connections: find it here.
    createSecureContext(options);
  } catch (error) {
    throw toEvercertError(error, 'InvalidCertificate', 'the server certificate cannot be used');
  }
  return options;
}

export interface ClientIdentity {
  /** DER of the CAs that may have signed the server's certificate. */
  trustAnchors: Buffer[];
  /** DER, leaf first; with `privateKey`, the client's own certificate. */
  chain?: Buffer[];
  privateKey?: KeyObject;
}

/** Channel credentials of a client that can tell what the server showed. */
export type ClientCredentials = ChannelCredentials & {
  /** What the server presented on the newest connection that stands, DER, leaf first; empty: none does. */
  serverChain(): Buffer[];
};

/** Channel credentials that trust exactly these anchors. InvalidCertificate when chain and key do not fit. */
export function createClientCredentials({ trustAnchors, chain, privateKey }: ClientIdentity): ClientCredentials {
  try {
    const own = chain && privateKey && { cert: certificatesToPem(chain), key: privateKeyToPem(privateKey) };
    return new ContextChannelCredentials(clientContext(trustAnchors.map(toPem), own));
  } catch (error) {
    throw toEvercertError(error, 'InvalidCertificate', 'the client certificate cannot be used');
  }
}

/** The chain that a server presents to a new connection, after it has proved itself by the anchors; no byte of ours is sent. Errors: Unavailable. */
export function fetchServerChain({ trustAnchors, ...place }: ServerPlace & { trustAnchors: readonly Buffer[] }): Promise<Buffer[]> {
  return presentedChain(place, clientContext(trustAnchors.map(toPem)));
}

function toPem(der: Buffer): string {
  return certificatesToPem([der]);
}
