/**
 * The audit log's form: lines of JSON, each canonical (keys sorted, no white space), so that a line has one spelling only. The lines form one hash chain. Three kinds:
 *
 * - `header`: where a file or an export begins: the log, the next entry's sequence number and the chain's value before it.
 * - `entry`: one event, with its place in the log and its hash: SHA-256 over the chain's value before it and its canonical JSON without the hash.
 * - `checkpoint`: a signature over the chain's value, with the certificate of the key that made it. It is a link of the chain itself, but has no place of its own.
 */
export interface AuditHeader {
  type: 'header';
  /** Version of the form. */
  v: 1;
  /** Id of the log, made with it. */
  log: string;
  /** Of the entry that comes next. */
  sequence: number;
  /** The chain's value before it, hexadecimal. */
  previous: string;
}

/** What happened. Fields that are empty are absent. */
export interface AuditEvent {
  id: string;
  /** RFC 3339, UTC, with milliseconds. */
  time: string;
  cluster?: string;
  node?: string;
  /** `admin/NAME`, `node/CLUSTER/NAME`, `token/ID`, `coordinator` or `anonymous`. */
  actor: string;
  /** CamelCase: `CertificateIssued`. */
  reason: string;
  /** `Normal` or `Warning`. */
  type: string;
  certificate?: string;
  serial?: string;
  message?: string;
  errorCode?: string;
  source?: string;
  /** Of the call that it tells of: `/evercert.v1.AdminService/Apply`. */
  method?: string;
  /** Facts of the kind of event. */
  details?: Record<string, string>;
}

export interface AuditEntryLine {
  type: 'entry';
  /** From 1, without gaps. */
  sequence: number;
  /** The store's revision at which the event was written. */
  revision: number;
  event: AuditEvent;
  /** Hexadecimal. */
  hash: string;
}

export interface AuditCheckpoint {
  type: 'checkpoint';
  log: string;
  /** Of the last entry that it covers. */
  sequence: number;
  /** The chain's value that it signs, hexadecimal. */
  hash: string;
  /** RFC 3339, UTC, with milliseconds. */
  time: string;
  /** DER of the signing key's certificate, base64. */
  certificate: string;
  /** ECDSA over P-256 and SHA-256, r and s in 32 bytes each with s in the lower half, base64. */
  signature: string;
}

export type AuditLine = AuditHeader | AuditEntryLine | AuditCheckpoint;

/** Longest line that is read, in characters. */
export const maxLineLength = 2 * 1024 * 1024;
