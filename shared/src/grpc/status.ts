import { type Any, BadRequest, ErrorInfo, RetryInfo, Status } from '@evercert/proto/rpc-status';
import { Metadata, type ServiceError, type StatusObject, status } from '@grpc/grpc-js';
import { type ErrorCode, EvercertError, errorCodes, type Fault, formatFault, isErrorCode, toEvercertError } from '../errors/index.ts';

const detailsKey = 'grpc-status-details-bin';
const domain = 'evercert.io';
const typePrefix = 'type.googleapis.com/google.rpc.';
/** HTTP/2 header lists are bounded; a status with more faults than this says how many were left out. */
const maxFaults = 50;
/** Characters of a message; what somebody sent may stand in it. */
const maxMessage = 4096;

/**
 * An error as it leaves the process: code, message, metadata and faults of an EvercertError; of anything else only "internal error"
 * (what may leave is allow-listed, the rest stays in the log).
 */
export function toServiceError(error: unknown): Partial<StatusObject> & { name: string; message: string } {
  const known = error instanceof EvercertError ? error : new EvercertError('Internal', 'internal error; the coordinator logged the cause');
  const code = status[errorCodes[known.code].grpc];
  // A text that was cut inside a character has no form in a header: grpc-js would throw where nobody can catch it.
  const message = known.message.slice(0, maxMessage).toWellFormed();
  const metadata = new Metadata();
  const details: Any[] = [any('ErrorInfo', ErrorInfo.encode({ reason: known.code, domain, metadata: { ...known.metadata } }).finish())];
  if (known.retryAfterMs !== undefined) {
    const ms = Math.max(0, Math.round(known.retryAfterMs));
    const retryDelay = { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 };
    details.push(any('RetryInfo', RetryInfo.encode({ retryDelay }).finish()));
  }
  if (known.faults.length > 0) details.push(any('BadRequest', BadRequest.encode({ fieldViolations: violations(known.faults) }).finish()));
  metadata.set(detailsKey, Buffer.from(Status.encode({ code, message, details }).finish()));
  return { name: known.code, message, code, details: message, metadata };
}

function violations(faults: readonly Fault[]): { field: string; description: string }[] {
  const shown = faults.slice(0, maxFaults).map((fault) => ({ field: fault.field, description: formatFault({ ...fault, field: '' }) }));
  const left = faults.length - shown.length;
  return left > 0 ? [...shown, { field: '', description: `and ${left} more` }] : shown;
}

function any(type: string, value: Uint8Array): Any {
  return { typeUrl: typePrefix + type, value: Buffer.from(value) };
}

const codesByStatus: Partial<Record<number, ErrorCode>> = {
  [status.CANCELLED]: 'Cancelled',
  [status.INVALID_ARGUMENT]: 'InvalidArgument',
  [status.DEADLINE_EXCEEDED]: 'DeadlineExceeded',
  [status.NOT_FOUND]: 'NotFound',
  [status.ALREADY_EXISTS]: 'AlreadyExists',
  [status.PERMISSION_DENIED]: 'PermissionDenied',
  [status.RESOURCE_EXHAUSTED]: 'Overloaded',
  [status.FAILED_PRECONDITION]: 'FailedPrecondition',
  [status.ABORTED]: 'Conflict',
  [status.UNAVAILABLE]: 'Unavailable',
  [status.DATA_LOSS]: 'DataLoss',
  [status.UNAUTHENTICATED]: 'Unauthenticated',
};

/** What a call failed with: the coordinator's own error, intact, or the transport's by its status. Anything else becomes Internal. */
export function fromServiceError(error: unknown): EvercertError {
  if (error instanceof EvercertError) return error;
  if (!isServiceError(error)) return toEvercertError(error);
  const fallback = codesByStatus[error.code] ?? 'Internal';
  const decoded = decodeDetails(error.metadata);
  const { info, retry, request } = decoded;
  const code = info?.domain === domain && isErrorCode(info.reason) ? info.reason : fallback;
  return new EvercertError(code, error.details || error.message, {
    cause: error,
    ...(retry?.retryDelay && { retryAfterMs: retry.retryDelay.seconds * 1000 + Math.floor(retry.retryDelay.nanos / 1_000_000) }),
    ...(request && { faults: request.fieldViolations.map(({ field, description }) => ({ field, message: description })) }),
    ...(info && { metadata: info.metadata }),
  });
}

interface Decoded {
  info?: ErrorInfo;
  retry?: RetryInfo;
  request?: BadRequest;
}

function decodeDetails(metadata: Metadata | undefined): Decoded {
  const raw = metadata?.get(detailsKey)[0];
  const decoded: Decoded = {};
  if (!Buffer.isBuffer(raw)) return decoded;
  try {
    for (const { typeUrl, value } of Status.decode(raw).details) {
      if (typeUrl === `${typePrefix}ErrorInfo`) decoded.info = ErrorInfo.decode(value);
      if (typeUrl === `${typePrefix}RetryInfo`) decoded.retry = RetryInfo.decode(value);
      if (typeUrl === `${typePrefix}BadRequest`) decoded.request = BadRequest.decode(value);
    }
    return decoded;
  } catch {
    // A peer of another make sent something that is not google.rpc.Status: its plain status still tells enough.
    return {};
  }
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && typeof (error as { code?: unknown }).code === 'number' && 'details' in error;
}
