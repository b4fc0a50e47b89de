import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { ChannelCredentials } from '@grpc/grpc-js';
import type { Clock } from '../clock/index.ts';
import { EvercertError, toEvercertError } from '../errors/index.ts';
import { ContextChannelCredentials } from './channel-credentials.ts';

/** PEM files of a client. */
export interface PairFiles {
  /** The CAs that may have signed the server's certificate. */
  caFile: string;
  certFile: string;
  keyFile: string;
}

export interface FileCredentialsOptions {
  files: PairFiles;
  clock: Clock;
  /** The files changed and cannot be used: the last good ones are used on. Told once for each change. */
  onUnusable: (error: EvercertError) => void;
  /** What a connection failed of. */
  onTlsError?: (error: Error) => void;
}

/** A pair that is being replaced may be read half old and half new; another try so much later finds it whole. */
const settleMs = 50;
const tries = 4;

/**
 * Client credentials whose files may be replaced at any time: each handshake takes what lies there then, open connections go on with what they began with.
 * InvalidCertificate: the files cannot be used now, at the start. FileSystem: they cannot be read.
 */
export async function createFileCredentials(options: FileCredentialsOptions): Promise<ChannelCredentials> {
  const context = new FileContext(options);
  await context.get();
  return new ContextChannelCredentials(() => context.get(), options.onTlsError);
}

class FileContext {
  readonly #options: FileCredentialsOptions;
  #stamp = '';
  #context: SecureContext | undefined;

  constructor(options: FileCredentialsOptions) {
    this.#options = options;
  }

  async get(): Promise<SecureContext> {
    const { files, clock, onUnusable } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      let stamp = '';
      try {
        stamp = await stampOf(files);
        if (this.#context !== undefined && stamp === this.#stamp) return this.#context;
        this.#context = await load(files);
        this.#stamp = stamp;
        return this.#context;
      } catch (caught) {
        const error = toEvercertError(caught);
        if (attempt < tries) await clock.sleep(settleMs);
        else if (this.#context === undefined) throw error;
        else {
          this.#stamp = stamp;
          onUnusable(error);
          return this.#context;
        }
      }
    }
  }
}

/** Changes with the files. */
async function stampOf(files: PairFiles): Promise<string> {
  const stamps = await Promise.all(
    [files.caFile, files.certFile, files.keyFile].map(async (path) => {
      const { ino, size, mtimeMs } = await stat(path).catch((error: unknown) => refuse(path, error));
      return `${ino}:${size}:${mtimeMs}`;
    }),
  );
  return stamps.join(' ');
}

async function load(files: PairFiles): Promise<SecureContext> {
  const read = (path: string): Promise<Buffer> => readFile(path).catch((error: unknown) => refuse(path, error));
  const [ca, cert, key] = await Promise.all([read(files.caFile), read(files.certFile), read(files.keyFile)]);
  try {
    // Not above TLS 1.2: servers older than Go 1.13 know no later one.
    return createSecureContext({ ca, cert, key, minVersion: 'TLSv1.2' });
  } catch (error) {
    const message = `${files.certFile} and ${files.keyFile} (with ${files.caFile}) cannot be used: expected PEM, a certificate and the private key that fits it`;
    throw toEvercertError(error, 'InvalidCertificate', message);
  }
}

function refuse(path: string, error: unknown): never {
  throw new EvercertError('FileSystem', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}
