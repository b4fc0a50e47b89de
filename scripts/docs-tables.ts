import { type ErrorCode, errorCodes } from '@evercert/shared/errors';

/** What each code tells a person; a code without its line does not pass the type check. */
const meanings: Record<ErrorCode, string> = {
  InvalidArgument: 'an option or a field of a request is wrong',
  InvalidCsr: 'a signing request is no PKCS#10, too large, or not signed by its own key',
  InvalidCertificate: 'a certificate cannot be read, or its chain does not lead to the CA',
  InvalidManifest: 'a document has faults; each is listed with its line',
  InvalidConfig: 'a configuration file has faults; each is listed with its line',
  WeakKey: 'a key is of a kind or size that is not accepted',
  KeyInUse: 'the public key belongs to another certificate',
  NotFound: 'there is nothing of this name',
  AlreadyExists: 'the name is taken',
  Conflict: 'somebody else changed the same thing meanwhile',
  FailedPrecondition: 'the state of things does not allow it',
  StaleSpec: 'the agent acted on a declaration that has changed; it asks again by itself',
  AddressNotAllowed: 'an address is neither registered for the node nor in an allowed range',
  Unauthenticated: 'no valid client certificate was shown, or it is not accepted any more',
  IdentityExpired: 'the client certificate has expired',
  InvalidToken: 'the bootstrap token is unknown or wrong',
  TokenExpired: 'the bootstrap token has expired',
  TokenUsedUp: 'the bootstrap token has no uses left',
  TokenMismatch: 'the bootstrap token is for another role or node name',
  PermissionDenied: 'this identity may not do that',
  PinMismatch: "the coordinator's CA is not the one that is pinned",
  Overloaded: 'too much at once; there is a hint how long to wait',
  NotLeader: 'another coordinator runs the controllers; clients go there by themselves',
  Unavailable: 'the coordinator cannot be reached, or stops',
  DeadlineExceeded: 'no answer in time',
  Cancelled: 'the caller gave up',
  StoreFailure: 'the store failed',
  DataLoss: 'stored data is damaged',
  Internal: 'something unforeseen; the log has the cause',
  FileConflict: 'something that the agent will not touch is in the way of a file',
  PathNotAllowed: 'a path is outside the allowed folders',
  FileSystem: 'the file system refused',
  Revoked: 'a RenewRevocation matches the certificate, or what would be issued instead',
  RecoveryNotOpen: 'no repair window is open for the node, and its policy does not let it come back by itself',
  RecoveryRefused: 'a recovery that cannot be honest: a replayed nonce, a wrong key, an older identity than the newest',
  DiskFull: 'no space left, or a quota is used up',
  PairMismatch: 'key and certificate do not belong together',
  ReloadFailed: 'the component could not be told to read its files again',
  NotServed: 'the component does not serve the installed certificate',
};

/** The error codes as a Markdown table, in the order of the one table in the code. */
export function exitCodeTable(): string {
  const rows = Object.entries(errorCodes).map(([code, { exit, grpc, retryable }]) => {
    const meaning = meanings[code as ErrorCode];
    return `| \`${code}\` | ${exit} | ${grpc} | ${retryable ? 'yes' : 'no'} | ${meaning} |`;
  });
  return ['| code | exit code | gRPC status | trying again can help | meaning |', '| --- | --- | --- | --- | --- |', ...rows].join('\n');
}

/** Puts generated texts between their markers. A marker that is missing is a programmer's error. */
export function withGenerated(markdown: string, parts: Record<string, string>): string {
  return Object.entries(parts).reduce((text, [name, part]) => {
    const [start, end] = [`<!-- generated: ${name} -->`, '<!-- end -->'];
    const from = text.indexOf(start);
    const to = text.indexOf(end, from);
    if (from < 0 || to < 0) throw new Error(`the page has no ${start} … ${end}`);
    return `${text.slice(0, from + start.length)}\n${part}\n${text.slice(to)}`;
  }, markdown);
}
