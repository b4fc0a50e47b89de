import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  collectionPath,
  MatchCounts,
  type RevocationObject,
  readObject,
  type Standing,
  sameJudgement,
  sameStatus,
  statusOf,
} from '@evercert/coordinator/kubernetes';
import { FakeClock } from '@evercert/shared/clock';
import { manifestLimits } from '@evercert/shared/manifest';
import { revocationReasons } from '@evercert/shared/revocation';
import { parse, parseAllDocuments } from 'yaml';
import { repositoryRoot } from '../../../support/tools.ts';

const apiVersion = 'certificates.microsoft.com/v1';
const nowMs = Date.parse('2026-06-01T12:00:00.750Z');
const metadata = { name: 'r', namespace: 'kube-system', uid: 'u', resourceVersion: '1', creationTimestamp: '', generation: 3 };
const object = (entries: unknown, more: Partial<RevocationObject> = {}): RevocationObject => ({
  metadata,
  spec: { revocations: entries },
  ...more,
});
const record = { entries: [{}, {}] } as unknown as NonNullable<Standing['record']>;

describe("an API server's RenewRevocation", () => {
  it('is read as evercert apply reads it', () => {
    const sample = parse(readFileSync(join(repositoryRoot, 'test/fixtures/founding-revocation.yaml'), 'utf8'));
    const read = readObject({ metadata: { ...metadata, annotations: { a: 'b' }, labels: {} }, spec: sample.spec }, apiVersion);
    assert.ok('document' in read, JSON.stringify(read));
    assert.deepEqual(
      read.document.spec.revocations.map(({ kind }) => kind),
      ['SerialNumber', 'Group', 'DNS', 'DNS', 'IP'],
    );
    assert.deepEqual([read.document.apiVersion, read.document.metadata.namespace], [apiVersion, 'kube-system']);
  });

  const faults: [string, unknown, RegExp][] = [
    [
      'a fault',
      [
        { kind: 'Group', group: 'a' },
        { kind: 'DNS', dns: 'a..b' },
      ],
      /^spec\.revocations\[1\]\.dns: /,
    ],
    [
      'a misspelt field',
      [{ kind: 'Group', group: 'a', notbefore: '2020-01-01T00:00:00Z' }],
      /^spec\.revocations\[0\].*notbefore.*notBefore/,
    ],
    ['an empty notBefore', [{ kind: 'Group', group: 'a', notBefore: null }], /notBefore: .*leave the key out/],
    ['a number', [{ kind: 'SerialNumber', serialNumber: 1200000 }], /^spec\.revocations\[0\]\.serialNumber: expected text, found a number/],
    ['no entry', [], /^spec\.revocations/],
    ['no entries at all', undefined, /^spec\.revocations/],
    ['entries that are none', [null, 3], /^spec\.revocations\[0\]/],
    ['more faults than anybody reads', Array.from({ length: 8 }, () => ({ kind: 'x' })), /; and 3 more$/],
  ];
  for (const [what, entries, message] of faults) {
    it(`with ${what} is refused, with the field`, () => {
      const read = readObject(object(entries), apiVersion);
      assert.ok('fault' in read);
      assert.match(read.fault, message);
    });
  }

  it('has its collection by group and namespace', () => {
    assert.equal(collectionPath({ apiVersion: 'evercert.io/v1', namespace: 'a' }), '/apis/evercert.io/v1/namespaces/a/renewrevocations');
  });
});

describe("a RenewRevocation's status", () => {
  const counts = { matching: 4, refusals: 0 };
  const refused = { reason: 'Invalid', message: 'spec.x: wrong' } as const;

  it('says that it is in force, and how much it matches', () => {
    const status = statusOf(object([1, 2]), { refused: undefined, record }, counts, nowMs);
    assert.deepEqual([status.state, status.entries, status.matchingCertificates, status.refusals], ['InEffect', 2, 4, 0]);
    assert.deepEqual(
      status.conditions?.map(({ type, status: is, observedGeneration, lastTransitionTime }) => [
        type,
        is,
        observedGeneration,
        lastTransitionTime,
      ]),
      [
        ['Accepted', 'True', 3, '2026-06-01T12:00:00Z'],
        ['InEffect', 'True', 3, '2026-06-01T12:00:00Z'],
      ],
    );
  });

  it('says what is wrong, and that nothing is in force', () => {
    const status = statusOf(object([1, 2, 3]), { refused, record: undefined }, { matching: undefined, refusals: 0 }, nowMs);
    assert.deepEqual([status.state, status.entries, status.matchingCertificates], ['NotAccepted', 3, 0]);
    assert.deepEqual(
      status.conditions?.map(({ status: is, reason, message }) => [is, reason, message]),
      [
        ['False', 'Invalid', 'spec.x: wrong'],
        ['False', 'NotAccepted', 'it refuses nothing'],
      ],
    );
  });

  it('says which generation is in force where the last change was refused', () => {
    const before = statusOf(object([1, 2], { metadata: { ...metadata, generation: 2 } }), { refused: undefined, record }, counts, nowMs);
    const status = statusOf(object([1], { status: before }), { refused, record }, counts, nowMs + 60_000);
    assert.equal(status.state, 'EarlierInEffect');
    const [accepted, inEffect] = status.conditions ?? [];
    assert.deepEqual([accepted?.observedGeneration, accepted?.lastTransitionTime], [3, '2026-06-01T12:01:00Z']);
    assert.deepEqual([inEffect?.observedGeneration, inEffect?.lastTransitionTime], [2, '2026-06-01T12:00:00Z']);
  });

  it('adds refusals to what was told before, and keeps what others say', () => {
    const other = { type: 'Audited', status: 'True' as const, lastTransitionTime: '2026-01-01T00:00:00Z', reason: 'Ok', message: '' };
    const before = { refusals: 5, matchingCertificates: 9, conditions: [other] };
    const status = statusOf(
      object([1, 2], { status: before }),
      { refused: undefined, record },
      { matching: undefined, refusals: 2 },
      nowMs,
    );
    assert.deepEqual([status.refusals, status.matchingCertificates], [7, 9]);
    assert.deepEqual(status.conditions?.[0], other);
  });

  it('is the same when nothing has changed, and the same judgement when only counts have', () => {
    const standing = { refused: undefined, record };
    const status = statusOf(object([1, 2]), standing, counts, nowMs);
    const again = statusOf(object([1, 2], { status }), standing, counts, nowMs + 5000);
    assert.equal(sameStatus(status, again), true);
    const counted = statusOf(object([1, 2], { status }), standing, { matching: 5, refusals: 1 }, nowMs);
    assert.deepEqual([sameStatus(status, counted), sameJudgement(status, counted)], [false, true]);
    assert.equal(sameJudgement(status, statusOf(object([1], { status }), { refused, record }, counts, nowMs)), false);
    assert.equal(sameStatus(undefined, status), false);
  });
});

describe('the count of matching certificates', () => {
  it('counts a certificate once for each object, and reads them all at most every five seconds', async () => {
    const clock = new FakeClock();
    let readings = 0;
    const matches: Record<string, string[]> = { a: ['one', 'one', 'two'], b: ['two'], c: [] };
    const counts = new MatchCounts({
      cluster: 'demo',
      clock,
      revocations: {
        async *live() {
          readings += 1;
          for (const serial of Object.keys(matches)) yield { serial } as never;
        },
        matchIssued: ({ serial }) => (matches[serial] ?? []).map((name) => ({ object: name }) as never),
      },
    });
    const both = await Promise.all([counts.counts(), counts.counts()]);
    assert.deepEqual(
      [...both[0].byObject],
      [
        ['one', 1],
        ['two', 2],
      ],
    );
    await clock.advance(4999);
    await counts.counts();
    assert.equal(readings, 1);
    await clock.advance(1);
    await counts.counts();
    assert.equal(readings, 2);
  });
});

describe('the definitions of RenewRevocation', () => {
  const [founding, own] = parseAllDocuments(readFileSync(join(repositoryRoot, 'deploy/kubernetes/renewrevocation-crd.yaml'), 'utf8')).map(
    (document) => document.toJS(),
  );

  it('are one, but for the group', () => {
    assert.deepEqual([founding.spec.group, own.spec.group], ['certificates.microsoft.com', 'evercert.io']);
    assert.deepEqual(
      [founding.metadata.name, own.metadata.name],
      ['renewrevocations.certificates.microsoft.com', 'renewrevocations.evercert.io'],
    );
    assert.deepEqual({ ...founding.spec, group: '' }, { ...own.spec, group: '' });
  });

  it('know the bounds and the reasons of the parser', () => {
    const { revocations } = founding.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties;
    assert.equal(revocations.maxItems, manifestLimits.revocationEntries);
    assert.deepEqual(revocations.items.properties.reason.enum, [...revocationReasons]);
  });
});
