/**
 * Which CAs a server names to its clients (`certificate_authorities` of its CertificateRequest). Node's TLS does not tell them; so the first flight of a handshake is made here by
 * hand, up to that message. TLS 1.2 sends it in the clear; a server that speaks TLS 1.3 alone encrypts it to whoever said hello, which asks for no certificate of ours either.
 */
import { connect, isIP, type Socket } from 'node:net';
import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import { Reader } from './bytes.ts';
import { HandshakeOpener, readServerHello } from './handshake-keys.ts';
import { clientHello, record, Shares, type TlsVersion } from './hello.ts';

export interface NamedAuthoritiesTarget {
  host: string;
  port: number;
}

const dialMs = 5000;
/** A server that names more has thousands of CAs. */
const maxBytes = 1024 * 1024;
const recordType = { alert: 21, handshake: 22, encrypted: 23 } as const;
const message = { serverHello: 2, certificate: 11, certificateRequest: 13, serverHelloDone: 14, finished: 20 } as const;
/** Alerts of a server that does not want the version that was offered: handshake_failure, protocol_version. */
const otherVersion = new Set([40, 70]);

class Alert extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`it refused the handshake with TLS alert ${code}`);
    this.code = code;
  }
}

/**
 * DER of the subjects that it names; empty: it asks for a certificate and names none; undefined: it asks for none. Errors: Unavailable (it cannot be reached, or what answers is no TLS
 * server that can be understood).
 */
export async function namedAuthorities(target: NamedAuthoritiesTarget, clock: Clock): Promise<Buffer[] | undefined> {
  try {
    return await ask(target, '1.2', clock).catch((error: unknown) => {
      if (error instanceof Alert && otherVersion.has(error.code)) return ask(target, '1.3', clock);
      throw error;
    });
  } catch (error) {
    throw new EvercertError('Unavailable', describeError(error), { cause: error });
  }
}

function ask({ host, port }: NamedAuthoritiesTarget, version: TlsVersion, clock: Clock): Promise<Buffer[] | undefined> {
  return new Promise((resolve, reject) => {
    const shares = new Shares();
    const hello = clientHello(version, shares, isIP(host) === 0 ? host : undefined);
    const flight = new ServerFlight(version, hello, shares);
    const socket: Socket = connect({ host, port }, () => socket.write(record(recordType.handshake, hello)));
    const timer = clock.after(dialMs, () => done(() => reject(new Error(`no TLS answer within ${dialMs} ms`))));
    const done = (settle: () => void): void => {
      timer.cancel();
      socket.destroy();
      settle();
    };
    socket.on('data', (chunk: Buffer) => {
      try {
        const answer = flight.receive(chunk);
        if (answer) done(() => resolve(answer.authorities));
      } catch (error) {
        done(() => reject(error));
      }
    });
    socket.on('error', (error) => done(() => reject(error)));
    socket.once('close', () => done(() => reject(new Error('it closed the connection before the handshake was done'))));
  });
}

/** The server's first messages, as they come. */
export class ServerFlight {
  readonly #version: TlsVersion;
  readonly #hello: Buffer;
  readonly #shares: Shares;
  #received = 0;
  #bytes = Buffer.alloc(0);
  #messages = Buffer.alloc(0);
  #opener: HandshakeOpener | undefined;

  constructor(version: TlsVersion, hello: Buffer, shares: Shares) {
    this.#version = version;
    this.#hello = hello;
    this.#shares = shares;
  }

  /** The answer, once it is there. Throws for what is not understood. */
  receive(chunk: Buffer): { authorities: Buffer[] | undefined } | undefined {
    this.#received += chunk.length;
    if (this.#received > maxBytes) throw new RangeError(`it sent more than ${maxBytes} bytes`);
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 5) {
      const length = this.#bytes.readUInt16BE(3);
      if (this.#bytes.length < 5 + length) return undefined;
      const header = this.#bytes.subarray(0, 5);
      const content = this.#bytes.subarray(5, 5 + length);
      this.#bytes = this.#bytes.subarray(5 + length);
      const answer = this.#record(header, content);
      if (answer) return answer;
    }
    return undefined;
  }

  #record(header: Buffer, content: Buffer): { authorities: Buffer[] | undefined } | undefined {
    let type = header[0];
    let plain = content;
    if (type === recordType.encrypted && this.#opener) ({ type, content: plain } = this.#opener.open(header, content));
    if (type === recordType.alert) throw new Alert(plain[1] ?? 0);
    // change_cipher_spec, for middle boxes.
    if (type === 20 && this.#version === '1.3') return undefined;
    if (type !== recordType.handshake) throw new RangeError('it does not speak TLS');
    this.#messages = Buffer.concat([this.#messages, plain]);
    while (this.#messages.length >= 4) {
      const length = this.#messages.readUIntBE(1, 3);
      if (this.#messages.length < 4 + length) return undefined;
      const whole = this.#messages.subarray(0, 4 + length);
      this.#messages = this.#messages.subarray(4 + length);
      const answer = this.#message(whole[0] ?? 0, whole);
      if (answer) return answer;
    }
    return undefined;
  }

  #message(type: number, whole: Buffer): { authorities: Buffer[] | undefined } | undefined {
    const body = whole.subarray(4);
    if (type === message.certificateRequest) return { authorities: this.#version === '1.2' ? ofRequest12(body) : ofRequest13(body) };
    if (type === message.serverHello && this.#version === '1.3')
      this.#opener = new HandshakeOpener(readServerHello(body), this.#shares, Buffer.concat([this.#hello, whole]));
    // The request would have come before: TLS 1.3's certificate follows it, in TLS 1.2 it precedes it.
    const over: readonly number[] = this.#version === '1.2' ? [message.serverHelloDone] : [message.certificate, message.finished];
    return over.includes(type) ? { authorities: undefined } : undefined;
  }
}

/** RFC 5246 section 7.4.4. */
function ofRequest12(body: Buffer): Buffer[] {
  const reader = new Reader(body);
  reader.vector(1);
  reader.vector(2);
  return names(reader.vector(2));
}

/** RFC 8446 section 4.3.2. */
function ofRequest13(body: Buffer): Buffer[] {
  const reader = new Reader(body);
  reader.vector(1);
  const extensions = new Reader(reader.vector(2));
  while (!extensions.done) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (type === 47) return names(new Reader(content).vector(2));
  }
  return [];
}

function names(list: Buffer): Buffer[] {
  const reader = new Reader(list);
  const found: Buffer[] = [];
  while (!reader.done) found.push(reader.vector(2));
  return found;
}
