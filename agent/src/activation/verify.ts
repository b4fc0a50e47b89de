/** Looks whether a component serves a certificate: dials it as any client would. */
import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { connect } from 'node:tls';
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import { certificatesToPem, privateKeyToPem } from '@evercert/shared/x509';
import type { InstalledPair } from '../files/types.ts';

export interface Look {
  result: 'Served' | 'NotServed' | 'Unreachable';
  /** For a person: what was seen instead. */
  message: string;
}

export interface VerifyTarget {
  host: string;
  port: number;
}

/** Looks once; never throws. */
export type Verifier = (url: string, pair: InstalledPair, serverName?: string) => Promise<Look>;

const dialMs = 5000;

export function createVerifier({ clock }: { clock: Clock }): Verifier {
  return async (url, pair, serverName) => {
    const target = parseVerifyUrl(url);
    if (!target) return { result: 'Unreachable', message: `${url} is no address to look at; tls://HOST:PORT was expected` };
    const place = `${target.host}:${target.port}`;
    try {
      const presented = await presentedLeaf(target, pair, serverName, clock);
      const wanted = pair.chain[0];
      if (wanted && sha256(presented) === sha256(wanted)) return { result: 'Served', message: '' };
      return { result: 'NotServed', message: `${place} serves another certificate (SHA-256 ${sha256(presented).slice(0, 16)}…)` };
    } catch (error) {
      return { result: 'Unreachable', message: `${place} cannot be looked at: ${toEvercertError(error).message}` };
    }
  };
}

/** `tls://HOST:PORT`, IPv6 addresses in brackets; undefined for anything else. */
export function parseVerifyUrl(url: string): VerifyTarget | undefined {
  const match = /^tls:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^[\]/:]+)):(\d{1,5})$/.exec(url);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port >= 1 && port <= 65535 ? { host, port } : undefined;
}

/**
 * The certificate is compared, not trusted: whoever answers gets nothing but a handshake. The pair itself is presented in case the component asks
 * for a client certificate (etcd does).
 */
function presentedLeaf({ host, port }: VerifyTarget, pair: InstalledPair, serverName: string | undefined, clock: Clock): Promise<Buffer> {
  const servername = isIP(host) === 0 ? host : serverName;
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      cert: certificatesToPem(pair.chain),
      key: privateKeyToPem(pair.privateKey),
      rejectUnauthorized: false,
      ...(servername !== undefined && isIP(servername) === 0 && { servername }),
    });
    const timer = clock.after(dialMs, () => socket.destroy(new Error(`no TLS answer within ${dialMs} ms`)));
    socket.once('secureConnect', () => {
      const { raw } = socket.getPeerCertificate();
      socket.destroy();
      if (raw) resolve(raw);
      else reject(new Error('it presented no certificate'));
    });
    socket.on('error', reject);
    socket.once('close', () => {
      timer.cancel();
      reject(new Error('it closed the connection before the handshake was done'));
    });
  });
}

function sha256(der: Buffer): string {
  return createHash('sha256').update(der).digest('hex');
}
