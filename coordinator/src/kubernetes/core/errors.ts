import { type ErrorCode, EvercertError } from '@evercert/shared/errors';
import { visibleLine } from '@evercert/shared/text';

const maxMessage = 500;

const codes: Record<number, ErrorCode> = {
  400: 'InvalidArgument',
  401: 'Unauthenticated',
  403: 'PermissionDenied',
  404: 'NotFound',
  409: 'Conflict',
  410: 'FailedPrecondition',
  422: 'InvalidArgument',
  429: 'Overloaded',
};

export interface Refusal {
  /** What was asked, as `GET /api/v1/nodes`. */
  what: string;
  status: number;
  answer: unknown;
  retryAfterMs?: number | undefined;
  /** Nothing that the server says is repeated. */
  secret?: boolean | undefined;
  /** Where the roles are told that are needed. */
  roles: string;
}

/** A `Status` object (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/) as an error. */
export function refusalError({ what, status, answer, retryAfterMs, secret, roles }: Refusal): EvercertError {
  const { reason, message } = statusOf(answer);
  const code = reason === 'AlreadyExists' ? 'AlreadyExists' : (codes[status] ?? (status >= 500 ? 'Unavailable' : 'Internal'));
  const said = secret ? '' : `: ${visibleLine(message).slice(0, maxMessage)}`;
  const help = status === 401 || status === 403 ? `; the roles that are needed are in ${roles}` : '';
  return new EvercertError(code, `Kubernetes refused ${what} (HTTP ${status} ${reason})${said}${help}`, {
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    metadata: { httpStatus: String(status), reason },
  });
}

function statusOf(answer: unknown): { reason: string; message: string } {
  const status = (answer ?? {}) as { kind?: unknown; reason?: unknown; message?: unknown };
  return {
    reason: typeof status.reason === 'string' ? status.reason : 'Unknown',
    message: typeof status.message === 'string' ? status.message : 'no message',
  };
}

/** The API server no longer has the history from which a watch or the next page of a list was to go on: everything is to be read again. */
export function isGone(error: unknown): boolean {
  return error instanceof EvercertError && error.metadata['httpStatus'] === '410';
}

/** The result, or undefined where the object is not there. */
export async function unlessMissing<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof EvercertError && error.code === 'NotFound') return undefined;
    throw error;
  }
}
