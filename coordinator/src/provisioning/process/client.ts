import { type IncomingMessage, request } from 'node:http';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, isErrorCode } from '@evercert/shared/errors';
import { readText } from '@evercert/shared/http';
import { visibleLine } from '@evercert/shared/text';
import { z } from 'zod';

export interface HostCall {
  method: 'GET' | 'PUT' | 'DELETE';
  /** Path and query. */
  path: string;
  body?: object;
  signal: AbortSignal;
}

const maxAnswerBytes = 256 * 1024;
const maxMessage = 1000;

const doneSchema = z.object({ message: z.string().default('') });
const failureSchema = z.object({ code: z.string(), message: z.string(), retryAfterMs: z.number().int().nonnegative().optional() });

/**
 * HTTP with JSON on a unix socket: one call, one connection. Errors: those that the host tells; Unavailable when nobody serves the socket, DeadlineExceeded when the answer is not there in time,
 * Cancelled by the signal, PermissionDenied, Internal (what answers is no host of machines).
 */
export class HostClient {
  readonly #socket: string;
  readonly #clock: Clock;
  readonly #timeoutMs: number;

  constructor(options: { socket: string; clock: Clock; timeoutMs: number }) {
    this.#socket = options.socket;
    this.#clock = options.clock;
    this.#timeoutMs = options.timeoutMs;
  }

  /** The outcome's message. */
  async call(call: HostCall): Promise<string> {
    const { status, text } = await this.#exchange(call);
    const content = parse(text);
    const done = doneSchema.safeParse(content);
    if (status === 200 && done.success) return line(done.data.message);
    const failure = failureSchema.safeParse(content);
    if (!failure.success)
      throw new EvercertError('Internal', `${this.#socket} does not answer as a host of machines does (HTTP ${status})`);
    const { code, message, retryAfterMs } = failure.data;
    throw new EvercertError(isErrorCode(code) ? code : 'Internal', line(message), retryAfterMs === undefined ? {} : { retryAfterMs });
  }

  #exchange({ method, path, body, signal }: HostCall): Promise<{ status: number; text: string }> {
    const abort = new AbortController();
    const timer = this.#clock.after(this.#timeoutMs, () =>
      abort.abort(
        new EvercertError('DeadlineExceeded', `the host of machines on ${this.#socket} did not answer within ${this.#timeoutMs / 1000} s`),
      ),
    );
    const either = AbortSignal.any([signal, abort.signal]);
    return new Promise<{ status: number; text: string }>((resolve, reject) => {
      const outgoing = request({ socketPath: this.#socket, method, path, agent: false, signal: either }, (response) => {
        read(response, this.#socket).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject);
      });
      outgoing.on('error', reject);
      if (body === undefined) outgoing.end();
      else outgoing.setHeader('content-type', 'application/json').end(JSON.stringify(body));
    })
      .catch((error: unknown) => {
        throw this.#typed(error, either);
      })
      .finally(() => timer.cancel());
  }

  #typed(error: unknown, signal: AbortSignal): EvercertError {
    if (error instanceof EvercertError) return error;
    if (signal.aborted) {
      if (signal.reason instanceof EvercertError) return signal.reason;
      return new EvercertError('Cancelled', 'the call to the host of machines was cancelled', { cause: signal.reason });
    }
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'EACCES')
      return new EvercertError(
        'PermissionDenied',
        `${this.#socket} may not be opened by this user: run the coordinator as the local cluster's user`,
        {
          cause: error,
        },
      );
    return new EvercertError(
      'Unavailable',
      `nobody serves machines on ${this.#socket} (${code || String(error)}): is the local cluster that owns it running?`,
      { cause: error },
    );
  }
}

function read(response: IncomingMessage, socket: string): Promise<string> {
  const tooLong = (): EvercertError =>
    new EvercertError('Internal', `${socket} answers with more than ${maxAnswerBytes} bytes: it is no host of machines`);
  return readText(response, maxAnswerBytes, tooLong);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Told by the caller, as any other answer that is none.
    return undefined;
  }
}

function line(text: string): string {
  return visibleLine(text).slice(0, maxMessage);
}
