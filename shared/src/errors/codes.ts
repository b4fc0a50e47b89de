/**
 * The one table of error codes: what each is on gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html), as a CLI exit code, and whether
 * trying again can help. Codes are stable: clients and alerts match on them, texts may change.
 */
export const errorCodes = {
  // Requests
  InvalidArgument: { grpc: 'INVALID_ARGUMENT', exit: 2, retryable: false },
  InvalidCsr: { grpc: 'INVALID_ARGUMENT', exit: 2, retryable: false },
  InvalidCertificate: { grpc: 'INVALID_ARGUMENT', exit: 2, retryable: false },
  InvalidManifest: { grpc: 'INVALID_ARGUMENT', exit: 2, retryable: false },
  InvalidConfig: { grpc: 'INVALID_ARGUMENT', exit: 2, retryable: false },
  WeakKey: { grpc: 'INVALID_ARGUMENT', exit: 2, retryable: false },
  KeyInUse: { grpc: 'ALREADY_EXISTS', exit: 5, retryable: false },
  NotFound: { grpc: 'NOT_FOUND', exit: 4, retryable: false },
  AlreadyExists: { grpc: 'ALREADY_EXISTS', exit: 5, retryable: false },
  Conflict: { grpc: 'ABORTED', exit: 5, retryable: true },
  FailedPrecondition: { grpc: 'FAILED_PRECONDITION', exit: 6, retryable: false },
  // The agent acts on a desired state that has changed: it gets the new one over the stream, then asks again.
  StaleSpec: { grpc: 'FAILED_PRECONDITION', exit: 6, retryable: true },
  AddressNotAllowed: { grpc: 'PERMISSION_DENIED', exit: 3, retryable: false },
  // Who is calling
  Unauthenticated: { grpc: 'UNAUTHENTICATED', exit: 3, retryable: false },
  IdentityExpired: { grpc: 'UNAUTHENTICATED', exit: 3, retryable: false },
  InvalidToken: { grpc: 'UNAUTHENTICATED', exit: 3, retryable: false },
  TokenExpired: { grpc: 'UNAUTHENTICATED', exit: 3, retryable: false },
  TokenUsedUp: { grpc: 'FAILED_PRECONDITION', exit: 3, retryable: false },
  TokenMismatch: { grpc: 'FAILED_PRECONDITION', exit: 3, retryable: false },
  PermissionDenied: { grpc: 'PERMISSION_DENIED', exit: 3, retryable: false },
  PinMismatch: { grpc: 'UNAUTHENTICATED', exit: 3, retryable: false },
  // A RenewRevocation matches the certificate, or what would be issued instead. Metadata: object, entry, kind, value.
  Revoked: { grpc: 'PERMISSION_DENIED', exit: 3, retryable: false },
  // No repair window is open for the node, and its policy does not let it come back by itself.
  RecoveryNotOpen: { grpc: 'PERMISSION_DENIED', exit: 3, retryable: true },
  // A recovery that cannot be honest: replayed nonce, wrong key, an older identity than the node's newest.
  RecoveryRefused: { grpc: 'UNAUTHENTICATED', exit: 3, retryable: false },
  // The state of the service
  Overloaded: { grpc: 'RESOURCE_EXHAUSTED', exit: 7, retryable: true },
  Unavailable: { grpc: 'UNAVAILABLE', exit: 7, retryable: true },
  DeadlineExceeded: { grpc: 'DEADLINE_EXCEEDED', exit: 7, retryable: true },
  Cancelled: { grpc: 'CANCELLED', exit: 1, retryable: false },
  // Only the coordinator that runs the controllers can do it. Metadata: leader, its address, when one is known.
  NotLeader: { grpc: 'FAILED_PRECONDITION', exit: 7, retryable: true },
  StoreFailure: { grpc: 'UNAVAILABLE', exit: 7, retryable: true },
  DataLoss: { grpc: 'DATA_LOSS', exit: 1, retryable: false },
  Internal: { grpc: 'INTERNAL', exit: 1, retryable: true },
  // Files and components of a node
  FileConflict: { grpc: 'FAILED_PRECONDITION', exit: 1, retryable: true },
  PathNotAllowed: { grpc: 'PERMISSION_DENIED', exit: 1, retryable: false },
  FileSystem: { grpc: 'INTERNAL', exit: 1, retryable: true },
  DiskFull: { grpc: 'RESOURCE_EXHAUSTED', exit: 1, retryable: true },
  PairMismatch: { grpc: 'INTERNAL', exit: 1, retryable: true },
  ReloadFailed: { grpc: 'INTERNAL', exit: 1, retryable: true },
  NotServed: { grpc: 'INTERNAL', exit: 1, retryable: true },
} as const satisfies Record<string, ErrorCodeRow>;

interface ErrorCodeRow {
  /** Name of the gRPC status. */
  grpc: string;
  /** Exit code of `evercert` when this ends a command. */
  exit: number;
  retryable: boolean;
}

export type ErrorCode = keyof typeof errorCodes;

export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(errorCodes, value);
}
