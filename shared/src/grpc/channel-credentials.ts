import { isIP, type Socket } from 'node:net';
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import { CallCredentials, ChannelCredentials } from '@grpc/grpc-js';
import { presentedBy } from './presented-chain.ts';

type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>;
type Target = Parameters<ChannelCredentials['_createSecureConnector']>[0];
type Options = Parameters<ChannelCredentials['_createSecureConnector']>[1];

/** A server that takes connections and says nothing is given up then, and tried again. */
const handshakeTimeoutMs = 10_000;

/**
 * TLS channel credentials over a secure context, for servers by host name and by IP address alike. grpc-js's own (1.14) send whatever the target says as the TLS server name;
 * RFC 6066 section 3 permits no address there, and Node 26 refuses it. The server's certificate is checked against the target in either case.
 */
export class ContextChannelCredentials extends ChannelCredentials {
  readonly #context: () => SecureContext | Promise<SecureContext>;
  readonly #onTlsError: (error: Error) => void;
  #newest: TLSSocket | undefined;

  /** A function is asked before each handshake. `onTlsError` hears what a connection failed of, also after the handshake, where TLS 1.3 servers refuse a client's certificate. */
  constructor(
    context: SecureContext | (() => SecureContext | Promise<SecureContext>),
    onTlsError: (error: Error) => void = () => undefined,
  ) {
    super();
    this.#context = typeof context === 'function' ? context : () => context;
    this.#onTlsError = onTlsError;
  }

  /** What the server presented on the newest connection that stands, DER, leaf first; empty: none does. */
  serverChain(): Buffer[] {
    return this.#newest && !this.#newest.destroyed ? presentedBy(this.#newest) : [];
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(target: Target, options: Options, callCredentials?: CallCredentials): Connector {
    // Through an HTTP proxy the target is the proxy, and the option names the server behind it.
    const host = hostOf(options['grpc.http_connect_target'] ?? target.path);
    return {
      connect: async (socket) => {
        // Whatever happens to the socket before TLS takes it over must not be an unheard error.
        const early = (): void => undefined;
        socket.on('error', early);
        const context = await this.#context();
        socket.off('error', early);
        if (socket.destroyed) throw new Error('the connection was closed before the TLS handshake');
        const secured = await secure(socket, host, context, this.#onTlsError);
        this.#newest = secured.socket;
        return secured;
      },
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials ?? CallCredentials.createEmpty(),
      destroy: () => undefined,
    };
  }
}

function secure(
  socket: Socket,
  host: string,
  secureContext: SecureContext,
  onTlsError: (error: Error) => void,
): Promise<{ socket: TLSSocket; secure: boolean }> {
  return new Promise((resolve, reject) => {
    const name = isIP(host) === 0 ? { servername: host } : {};
    // `host` is what the certificate is checked against where there is no server name. An invalid certificate is an `error` here: rejectUnauthorized is the default.
    const tlsSocket = connect({ socket, secureContext, host, ALPNProtocols: ['h2'], ...name }, () => {
      tlsSocket.setTimeout(0);
      resolve({ socket: tlsSocket, secure: true });
    });
    tlsSocket.setTimeout(handshakeTimeoutMs, () => tlsSocket.destroy(new Error(`no TLS handshake within ${handshakeTimeoutMs / 1000} s`)));
    tlsSocket.on('error', (error) => {
      onTlsError(error);
      reject(error);
    });
  });
}

/** `dns:HOST:PORT`, `dns://RESOLVER/HOST:PORT`, `[ADDRESS]:PORT`: the host alone. */
function hostOf(target: string): string {
  const authority = target.slice(target.lastIndexOf('/') + 1).replace(/^(?:dns|ipv4|ipv6):/, '');
  const bracketed = /^\[([^\]]+)\]/.exec(authority)?.[1];
  if (bracketed !== undefined) return bracketed;
  return isIP(authority) === 6 ? authority : authority.replace(/:\d+$/, '');
}
