import type { ErrorCode } from '@evercert/shared/errors';
import type { KeyAlgorithm } from '@evercert/shared/x509';

/** What the coordinator asks the process that holds the token's library, and what that answers. */
export interface OpenCall {
  type: 'open';
  module: string;
  token: { label?: string | undefined; serial?: string | undefined; slot?: number | undefined };
  pinFile: string;
  credentialsDirectory: string | undefined;
  sessions: number;
}

/** By the key of this public key alone. Data: a hash for ECDSA, a whole DigestInfo for RSA. */
export interface SignCall {
  type: 'sign';
  key: string;
  spki: Uint8Array;
  keyType: 'ec' | 'rsa';
  data: Uint8Array;
}

export type TokenCall =
  | OpenCall
  | { type: 'list' }
  | { type: 'find'; key: string }
  | { type: 'generate'; key: string; algorithm: KeyAlgorithm }
  | { type: 'import'; key: string; parts: PrivateParts }
  | SignCall
  | { type: 'delete'; key: string };

export interface TokenAnswers {
  open: { label: string; serial: string };
  list: string[];
  /** SubjectPublicKeyInfo. Undefined: there is no such key. */
  find: Uint8Array | undefined;
  generate: Uint8Array;
  import: Uint8Array;
  /** Undefined: there is no such key any more. */
  sign: Uint8Array | undefined;
  delete: boolean;
}

/** The numbers of a private key, as PKCS#11 wants them. */
export type PrivateParts =
  | { keyType: 'ec'; ecParams: Uint8Array; ecPoint: Uint8Array; value: Uint8Array }
  | {
      keyType: 'rsa';
      modulus: Uint8Array;
      publicExponent: Uint8Array;
      privateExponent: Uint8Array;
      prime1: Uint8Array;
      prime2: Uint8Array;
      exponent1: Uint8Array;
      exponent2: Uint8Array;
      coefficient: Uint8Array;
    };

export interface Request {
  id: number;
  call: TokenCall;
}

export type Reply = { id: number; answer: unknown } | { id: number; failure: Failure };

export interface Failure {
  code: ErrorCode;
  message: string;
  /** The library is best started anew. */
  gone: boolean;
}
