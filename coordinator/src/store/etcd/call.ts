import { type CallOptions, type ClientDuplexStream, type ClientUnaryCall, Metadata, type ServiceError } from '@grpc/grpc-js';

type Method<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** A member that knows no leader refuses such a call at once, and ends such a stream, instead of letting it wait: https://etcd.io/docs/v3.4/dev-guide/interacting_v3/. */
export function requireLeader(): Metadata {
  const metadata = new Metadata();
  metadata.set('hasleader', 'true');
  return metadata;
}

/** A unary call as a promise. Rejects with gRPC's own error. */
export function call<Request, Response>(
  method: Method<Request, Response>,
  request: Request,
  { deadlineMs, metadata = new Metadata() }: { deadlineMs: number; metadata?: Metadata },
): Promise<Response> {
  return new Promise((resolve, reject) => {
    method(request, metadata, { deadline: deadlineAfter(deadlineMs) }, (error, response) => {
      if (error) reject(error);
      else resolve(response);
    });
  });
}

/** Sends one message on a stream of its own, and takes the first that comes back. */
export function exchange<Request, Response>(
  open: (metadata: Metadata, options: Partial<CallOptions>) => ClientDuplexStream<Request, Response>,
  request: Request,
  deadlineMs: number,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const stream = open(requireLeader(), { deadline: deadlineAfter(deadlineMs) });
    stream.on('data', (response: Response) => {
      resolve(response);
      stream.cancel();
    });
    // After the answer, this is the cancellation.
    stream.on('error', reject);
    stream.on('end', () => reject(new Error('the stream ended without an answer')));
    stream.write(request);
  });
}

/** grpc-js takes a deadline as a wall-clock time that it turns into a timeout at once. */
function deadlineAfter(ms: number): number {
  return performance.timeOrigin + performance.now() + ms;
}
