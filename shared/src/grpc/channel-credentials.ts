import { isIP, type Socket } from 'node:net';
import { connect, type SecureContext } from 'node:tls';
import { CallCredentials, ChannelCredentials } from '@grpc/grpc-js';

type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>;
type Target = Parameters<ChannelCredentials['_createSecureConnector']>[0];
type Options = Parameters<ChannelCredentials['_createSecureConnector']>[1];

/**
 * TLS channel credentials over a secure context, for servers by host name and by IP address alike. grpc-js's own (1.14) send whatever the target says as the TLS server name;
 * RFC 6066 section 3 permits no address there, and Node 26 refuses it. The server's certificate is checked against the target in either case.
 */
export class ContextChannelCredentials extends ChannelCredentials {
  readonly #context: SecureContext;

  constructor(context: SecureContext) {
    super();
    this.#context = context;
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
    const context = this.#context;
    return {
      connect: (socket) => secure(socket, host, context),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials ?? CallCredentials.createEmpty(),
      destroy: () => undefined,
    };
  }
}

function secure(socket: Socket, host: string, secureContext: SecureContext): Promise<{ socket: Socket; secure: boolean }> {
  return new Promise((resolve, reject) => {
    const name = isIP(host) === 0 ? { servername: host } : {};
    // `host` is what the certificate is checked against where there is no server name. An invalid certificate is an `error` here: rejectUnauthorized is the default.
    const tlsSocket = connect({ socket, secureContext, host, ALPNProtocols: ['h2'], ...name }, () =>
      resolve({ socket: tlsSocket, secure: true }),
    );
    tlsSocket.on('error', reject);
  });
}

/** `dns:HOST:PORT`, `dns://RESOLVER/HOST:PORT`, `[ADDRESS]:PORT`: the host alone. */
function hostOf(target: string): string {
  const authority = target.slice(target.lastIndexOf('/') + 1).replace(/^(?:dns|ipv4|ipv6):/, '');
  const bracketed = /^\[([^\]]+)\]/.exec(authority)?.[1];
  if (bracketed !== undefined) return bracketed;
  return isIP(authority) === 6 ? authority : authority.replace(/:\d+$/, '');
}
