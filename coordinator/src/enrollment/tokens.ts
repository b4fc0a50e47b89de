import { createHash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import type { RoleName } from '@evercert/shared/manifest';
import type { TokenRecord } from '../state/records.ts';

/** kubeadm's form (https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/): a public id and a secret of 82 bits. */
const tokenPattern = /^([a-z0-9]{6})\.([a-z0-9]{16})$/;
const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789';

export interface TokenParts {
  id: string;
  secret: string;
}

export function newToken(): TokenParts {
  return { id: randomText(6), secret: randomText(16) };
}

function randomText(length: number): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');
}

/** InvalidToken: not of the form `[a-z0-9]{6}.[a-z0-9]{16}`. */
export function parseToken(token: string): TokenParts {
  const [, id, secret] = tokenPattern.exec(token) ?? [];
  if (id === undefined || secret === undefined) {
    throw new EvercertError('InvalidToken', 'the bootstrap token is not of the form [a-z0-9]{6}.[a-z0-9]{16}');
  }
  return { id, secret };
}

/** Salted SHA-256: the secret has 82 random bits, so that a slow hash would add nothing. */
export function hashSecret(secret: string, salt: string): string {
  return createHash('sha256').update(`${salt}:${secret}`).digest('hex');
}

export function newSalt(): string {
  return randomBytes(16).toString('hex');
}

/**
 * Compares in constant time; an unknown id takes the same path as a wrong secret and gets the same answer.
 * InvalidToken: unknown, or the secret is wrong.
 */
export function checkSecret(token: TokenRecord | undefined, { secret }: TokenParts): TokenRecord {
  const expected = Buffer.from(token?.secretHash ?? '0'.repeat(64), 'hex');
  const actual = Buffer.from(hashSecret(secret, token?.salt ?? ''), 'hex');
  if (!timingSafeEqual(expected, actual) || token === undefined) {
    throw new EvercertError('InvalidToken', "the bootstrap token is not known here: make one with 'evercert token create'");
  }
  return token;
}

export interface Redemption {
  nodeName: string;
  /** Absent: the token's. */
  role?: RoleName | undefined;
  nowMs: number;
}

/** What a token allows, decided on plain data. Errors: TokenExpired, TokenUsedUp, TokenMismatch. */
export function checkRedemption(token: TokenRecord, { nodeName, role, nowMs }: Redemption): void {
  const metadata = { token: token.id };
  if (token.expiresAtMs <= nowMs) {
    const since = new Date(token.expiresAtMs).toISOString();
    throw new EvercertError(
      'TokenExpired',
      `bootstrap token ${token.id} expired at ${since}: make a new one with 'evercert token create'`,
      { metadata },
    );
  }
  if (token.nodeName !== '' && token.nodeName !== nodeName) {
    throw new EvercertError('TokenMismatch', `bootstrap token ${token.id} is for node "${token.nodeName}", not for "${nodeName}"`, {
      metadata,
    });
  }
  if (role !== undefined && role !== token.role) {
    throw new EvercertError('TokenMismatch', `bootstrap token ${token.id} is for role ${token.role}, not ${role}`, { metadata });
  }
  if (token.maxUses > 0 && token.uses >= token.maxUses) {
    throw new EvercertError(
      'TokenUsedUp',
      `bootstrap token ${token.id} has been used ${token.uses} of ${token.maxUses} times: make a new one`,
      { metadata },
    );
  }
}
