import { type CallOptions, type ClientUnaryCall, Metadata, type ServiceError } from '@grpc/grpc-js';
import { fromServiceError } from './status.ts';

/** A unary method of a generated client, bound to it: `client.issueCertificate.bind(client)`. */
export type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

export interface UnaryOptions {
  /** From now, in milliseconds; every call has one. */
  deadlineMs: number;
  signal?: AbortSignal | undefined;
}

/** Calls as a promise. Rejects with an EvercertError: the server's own, or the transport's (Unavailable, DeadlineExceeded, Cancelled). */
export function unary<Request, Response>(
  method: UnaryMethod<Request, Response>,
  request: Request,
  { deadlineMs, signal }: UnaryOptions,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const abort = (): void => call.cancel();
    const call = method(request, new Metadata(), { deadline: deadlineAfter(deadlineMs) }, (error, response) => {
      signal?.removeEventListener('abort', abort);
      if (error) reject(fromServiceError(error));
      else resolve(response);
    });
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** grpc-js takes a deadline as a wall-clock time that it turns into a timeout at once. */
function deadlineAfter(ms: number): number {
  return performance.timeOrigin + performance.now() + ms;
}
