import { EvercertError } from '@evercert/shared/errors';
import { fromServiceError } from '@evercert/shared/grpc';
import { type ServiceError, status } from '@grpc/grpc-js';

/**
 * What became of a request that failed:
 * - `refused`: etcd said no, and another member would say the same; nothing was applied.
 * - `not-applied`: this member surely did not take it; another one may.
 * - `full`: the quota is used up. Almost always nothing was applied: etcd checks before and after.
 * - `unknown`: it may have been applied.
 */
export type Fate = 'refused' | 'not-applied' | 'full' | 'unknown';

export class CallFailure extends Error {
  readonly error: EvercertError;
  readonly fate: Fate;
  /** gRPC's own text, for telling failures apart. */
  readonly details: string;

  constructor(error: EvercertError, fate: Fate, details: string) {
    super(error.message);
    this.error = error;
    this.fate = fate;
    this.details = details;
  }
}

/** Texts of grpc-js for calls that never left this process, or that the server's HTTP/2 layer says it did not look at. If they change, fewer calls are tried again: nothing worse. */
const notSent = /^(?:No connection established|Stream refused by server|Name resolution failed)/;
/** Texts of etcd (api/v3rpc/rpctypes/error.go) for requests that were refused before they were proposed. */
const notProposed = /^etcdserver: (?:no leader|not capable|too many learner|unhealthy cluster)/;

export const messageTooLarge = /larger than max/i;

/** `tlsError`: what the last connection to the member failed of, which grpc-js knows only as a dropped one. */
export function toCallFailure(caught: unknown, target: string, tlsError?: string): CallFailure {
  const cause = caught as ServiceError;
  const details = cause.details ?? cause.message ?? String(caught);
  const metadata = { endpoint: target };
  const failure = (code: EvercertError['code'], message: string, fate: Fate): CallFailure =>
    new CallFailure(new EvercertError(code, message, { cause, metadata }), fate, details);
  switch (cause.code) {
    case status.UNAVAILABLE:
      return failure(
        'StoreFailure',
        unavailable(details, target, tlsError),
        notSent.test(details) || notProposed.test(details) ? 'not-applied' : 'unknown',
      );
    case status.RESOURCE_EXHAUSTED:
      if (details.includes('database space exceeded')) return failure('DiskFull', full(target), 'full');
      if (messageTooLarge.test(details))
        return failure('StoreFailure', `an answer of etcd at ${target} is too large: ${details}`, 'refused');
      return failure('Overloaded', `etcd at ${target} has too much to do (${details}); try again later`, 'refused');
    case status.NOT_FOUND:
      return failure('NotFound', `the lease has run out or was revoked; take a new one (${details})`, 'refused');
    case status.FAILED_PRECONDITION:
      return failure('AlreadyExists', details, 'refused');
    case status.OUT_OF_RANGE:
      if (details.includes('compacted')) return failure('FailedPrecondition', compacted(details), 'refused');
      return failure('StoreFailure', `etcd at ${target} lags behind: ${details}`, 'not-applied');
    case status.INVALID_ARGUMENT:
      return failure('InvalidArgument', `etcd refuses the request: ${details}${limitHint(details)}`, 'refused');
    case status.PERMISSION_DENIED:
    case status.UNAUTHENTICATED:
      return failure('PermissionDenied', denied(details, target), 'refused');
    case status.DATA_LOSS:
      return failure(
        'DataLoss',
        `etcd at ${target} says that its members' data differ (${details}); restore a backup of etcd, see docs/store.md`,
        'refused',
      );
    case status.DEADLINE_EXCEEDED:
      return failure('StoreFailure', `etcd at ${target} did not answer in time`, 'unknown');
    default:
      return new CallFailure(fromServiceError(caught), 'unknown', details);
  }
}

function unavailable(details: string, target: string, tlsError: string | undefined): string {
  const reason = tlsError ?? /Last error: (.*?)\. Resolution note/.exec(details)?.[1] ?? details;
  return `etcd at ${target} cannot be reached: ${explain(reason)}`;
}

/** What TLS' errors mean here: https://nodejs.org/api/tls.html#x509-certificate-error-codes, https://www.rfc-editor.org/rfc/rfc8446#section-6. */
const explanations: readonly [RegExp, string][] = [
  [
    /CERT_HAS_EXPIRED|certificate has expired/i,
    "the member's certificate has expired: renew it, or see 'When all certificates have expired' in docs/store.md",
  ],
  [/alert.*expired/i, 'the member says that the client certificate (store.etcd.certFile) has expired: renew it'],
  [/alert.*(?:required|handshake failure)/i, 'the member wants a client certificate: set store.etcd.certFile and keyFile'],
  [
    /alert.*(?:bad certificate|unknown ca|unsupported certificate|certificate unknown)/i,
    "the member does not accept the client certificate (store.etcd.certFile): it must be signed by the member's --trusted-ca-file and be for client auth",
  ],
  [
    /self.signed|SELF_SIGNED|UNABLE_TO_(?:GET_ISSUER|VERIFY)|unable to (?:get|verify)/i,
    "the member's certificate is not signed by a CA of store.etcd.caFile",
  ],
  [/ALTNAME|does not match certificate/i, "the member's certificate does not name the host of this endpoint: use a name that stands in it"],
  [/ECONNREFUSED/, 'nobody listens there'],
  [/ENOTFOUND|EAI_AGAIN|Name resolution/, 'the name has no address'],
  [/wrong version number|packet length too long/i, 'it does not speak TLS there'],
];

function explain(reason: string): string {
  const known = explanations.find(([pattern]) => pattern.test(reason));
  return known === undefined ? reason : `${known[1]} (${reason})`;
}

function full(target: string): string {
  return `etcd's space is used up (alarm NOSPACE, told by ${target}) and it takes no writes: compact and defragment it, then disarm the alarm ('etcdctl alarm disarm'), or raise --quota-backend-bytes; see docs/store.md`;
}

function denied(details: string, target: string): string {
  return `etcd at ${target} does not allow this (${details}): its role needs read and write on the store's keys, see docs/store.md`;
}

export function compacted(details: string): string {
  return `the revision is forgotten (${details}); list again and go on from there`;
}

function limitHint(details: string): string {
  if (details.includes('too many operations')) return ": its --max-txn-ops must be 128 (etcd's default) or more";
  if (details.includes('request is too large')) return ": its --max-request-bytes must be 1.5 MiB (etcd's default) or more";
  return '';
}
