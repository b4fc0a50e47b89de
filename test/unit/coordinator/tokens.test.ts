import assert from 'node:assert/strict';
import { checkRedemption, checkSecret, hashSecret, newToken, parseToken, type TokenRecord } from '@evercert/coordinator';
import type { ErrorCode } from '@evercert/shared/errors';
import fc from 'fast-check';
import { withCode } from '../../support/node-calls.ts';

const nowMs = Date.parse('2026-01-01T12:00:00Z');

function record(change: Partial<TokenRecord> = {}): TokenRecord {
  return {
    id: 'abcdef',
    secretHash: hashSecret('0123456789abcdef', 'salt'),
    salt: 'salt',
    cluster: 'demo',
    role: 'worker',
    nodeName: '',
    createdAtMs: nowMs - 1000,
    expiresAtMs: nowMs + 1000,
    maxUses: 1,
    uses: 0,
    description: '',
    labels: {},
    addresses: [],
    dnsNames: [],
    ...change,
  };
}

describe('bootstrap tokens', () => {
  it("have kubeadm's form and are made anew each time", () => {
    const made = Array.from({ length: 50 }, () => newToken());
    for (const { id, secret } of made) assert.deepEqual(parseToken(`${id}.${secret}`), { id, secret });
    assert.equal(new Set(made.map(({ secret }) => secret)).size, made.length);
  });

  for (const text of [
    '',
    'abcdef',
    'abcdef.',
    'abcdef.0123456789abcde',
    'ABCDEF.0123456789abcdef',
    'abcdef.0123456789abcdef ',
    'abcdef:0123456789abcdef',
  ]) {
    it(`are refused as ${JSON.stringify(text)}`, () => assert.throws(() => parseToken(text), withCode('InvalidToken')));
  }

  it('are never accepted by another secret, or without a record', () => {
    assert.equal(checkSecret(record(), { id: 'abcdef', secret: '0123456789abcdef' }).id, 'abcdef');
    assert.throws(() => checkSecret(undefined, { id: 'abcdef', secret: '0123456789abcdef' }), withCode('InvalidToken'));
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z0-9]{16}$/), (secret) => {
        fc.pre(secret !== '0123456789abcdef');
        assert.throws(() => checkSecret(record(), { id: 'abcdef', secret }), withCode('InvalidToken'));
      }),
      { numRuns: 50 },
    );
  });

  const cases: [string, Partial<TokenRecord>, { nodeName?: string; role?: 'worker' | 'control-plane' }, ErrorCode | undefined][] = [
    ['a fresh one', {}, {}, undefined],
    ['one for this node', { nodeName: 'w-1' }, {}, undefined],
    ['one for another node', { nodeName: 'w-2' }, {}, 'TokenMismatch'],
    ['one for the asked role', {}, { role: 'worker' }, undefined],
    ['one for another role', {}, { role: 'control-plane' }, 'TokenMismatch'],
    ['one that ends in this very moment', { expiresAtMs: nowMs }, {}, 'TokenExpired'],
    ['one with a millisecond left', { expiresAtMs: nowMs + 1 }, {}, undefined],
    ['one that is used up', { uses: 1 }, {}, 'TokenUsedUp'],
    ['one with a use left', { maxUses: 3, uses: 2 }, {}, undefined],
    ['an unlimited one', { maxUses: 0, uses: 1000 }, {}, undefined],
  ];
  for (const [what, change, asked, code] of cases) {
    it(`${code === undefined ? 'accept' : `answer ${code} for`} ${what}`, () => {
      const redeem = (): void => checkRedemption(record(change), { nodeName: 'w-1', nowMs, ...asked });
      if (code === undefined) redeem();
      else assert.throws(redeem, withCode(code));
    });
  }
});
