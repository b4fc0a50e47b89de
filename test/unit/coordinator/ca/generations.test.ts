import assert from 'node:assert/strict';
import {
  type AuthorityRecord,
  abandoned,
  activated,
  certificatesAbove,
  chainOf,
  firstGeneration,
  generationsOf,
  intermediatesOf,
  issuingGeneration,
  liveGenerations,
  retired,
  reverted,
  shareRoot,
  spentGenerations,
  spread,
  urlsOf,
  withCompromised,
  withKeyDestroyed,
  withLastLeaf,
  withNext,
} from '@evercert/coordinator/ca';
import fc from 'fast-check';
import { withCode } from '../../shared/x509/fixtures.ts';
import { authority, generation } from './records.ts';

const nowMs = 1000;
const lastLeafNotAfterMs = 5000;
const base64 = (text: string): Buffer => Buffer.from(text, 'base64');
const statesOf = (record: AuthorityRecord): string[] => generationsOf(record).map((each) => `${each.generation.serial} ${each.state}`);
const rotated = (record: AuthorityRecord, name: string, at = nowMs): AuthorityRecord =>
  activated(spread(withNext(record, generation(name))), { nowMs: at, lastLeafNotAfterMs });

describe('the generations of a CA', () => {
  it('go from next over current and trusted to retired, and none is ever lost', () => {
    const steps = [authority()];
    const step = (change: (record: AuthorityRecord) => AuthorityRecord): void => void steps.push(change(steps.at(-1)!));
    step((record) => withNext(record, generation('b2')));
    step(spread);
    step((record) => activated(record, { nowMs, lastLeafNotAfterMs }));
    step((record) => retired(record, 2000));
    assert.deepEqual(steps.map(statesOf), [
      ['a1 current'],
      ['b2 next', 'a1 current'],
      ['b2 next', 'a1 current'],
      ['b2 current', 'a1 trusted'],
      ['b2 current', 'a1 retired'],
    ]);
    assert.deepEqual(
      steps.map(({ bundle, bundleVersion }) => [bundle.join(' '), bundleVersion]),
      [
        ['certificate-a1', 1],
        ['certificate-a1', 1],
        ['certificate-a1 certificate-b2', 2],
        ['certificate-a1 certificate-b2', 2],
        ['certificate-b2', 3],
      ],
    );
    const [before] = steps.at(-1)!.earlier!;
    assert.deepEqual(before, { ...generation('a1'), first: true, replacedAtMs: nowMs, lastLeafNotAfterMs, retiredAtMs: 2000 });
  });

  it('are back as they were when a rotation is given up before it signed anything, but for the version of the bundle', () => {
    const given = abandoned(spread(withNext(authority(), generation('b2'))));
    assert.deepEqual(given, { ...authority(), bundleVersion: 3 });
    assert.deepEqual(abandoned(withNext(authority(), generation('b2'))), authority());
  });

  it('go back to the one before when a rotation is given up after it, and keep the one that was left', () => {
    const back = reverted(rotated(authority(), 'b2'), { nowMs: 3000, lastLeafNotAfterMs: 7000 });
    assert.deepEqual(statesOf(back), ['a1 current', 'b2 trusted']);
    assert.deepEqual(back.bundle, ['certificate-a1', 'certificate-b2']);
    assert.equal(firstGeneration(back).serial, 'a1');
    assert.deepEqual(statesOf(retired(back, 4000)), ['a1 current', 'b2 retired']);
    assert.deepEqual(retired(back, 4000).bundle, ['certificate-a1']);
    assert.deepEqual(back.earlier, [{ ...generation('b2'), replacedAtMs: 3000, lastLeafNotAfterMs: 7000 }]);
  });

  const two = rotated(authority(), 'b2');
  for (const [what, change] of [
    ['a next one beside another', () => withNext(withNext(authority(), generation('b2')), generation('c3'))],
    ['a next one with the serial of another', () => withNext(authority(), { ...generation('b2'), serial: 'a1' })],
    ['a next one with the key of another', () => withNext(authority(), { ...generation('b2'), keyId: generation('a1').keyId })],
    ['to spread none', () => spread(authority())],
    ['to activate none', () => activated(authority(), { nowMs, lastLeafNotAfterMs })],
    ['to activate one that nodes do not trust', () => activated(withNext(authority(), generation('b2')), { nowMs, lastLeafNotAfterMs })],
    ['to give up none', () => abandoned(authority())],
    ['to go back to none', () => reverted(authority(), { nowMs, lastLeafNotAfterMs })],
    ['to go back to one that nodes do not trust', () => reverted(retired(two, 2000), { nowMs, lastLeafNotAfterMs })],
    ['to go back to one that is compromised', () => reverted(withCompromised(two, 'a1'), { nowMs, lastLeafNotAfterMs })],
    ['to retire while a next one waits', () => retired(withNext(two, generation('c3')), 2000)],
    ['to destroy the key of one that nodes trust', () => withKeyDestroyed(two, 'a1', 2000)],
    ['to destroy the key of the current one', () => withKeyDestroyed(two, 'b2', 2000)],
  ] as const) {
    it(`are refused ${what}`, () => void assert.throws(change, withCode('FailedPrecondition')));
  }

  it('answer for their certificates until the last has ended, the current one first', () => {
    const three = rotated(retired(two, 2000), 'c3', 3000);
    const serials = (record: AuthorityRecord, atMs: number): string[] => liveGenerations(record, atMs).map(({ serial }) => serial);
    assert.deepEqual(serials(three, 4000), ['c3', 'b2', 'a1']);
    assert.deepEqual(serials(withLastLeaf(three, 'a1', 3500), 4000), ['c3', 'b2']);
    assert.deepEqual(serials(three, lastLeafNotAfterMs), ['c3']);
    assert.deepEqual(serials(withKeyDestroyed(three, 'a1', 3000), 4000), ['c3', 'b2']);
    assert.deepEqual(serials(authority({ notAfterMs: 10 }), 4000), ['a1'], 'the current one always, though it is over');
  });

  it('have keys to spare once nodes do not trust them and their last certificates have ended, each once', () => {
    const retiredOnce = retired(two, 2000);
    assert.deepEqual(spentGenerations(two, lastLeafNotAfterMs), []);
    assert.deepEqual(spentGenerations(retiredOnce, lastLeafNotAfterMs - 1), []);
    assert.deepEqual(
      spentGenerations(retiredOnce, lastLeafNotAfterMs).map(({ keyId }) => keyId),
      [generation('a1').keyId],
    );
    assert.deepEqual(spentGenerations(withKeyDestroyed(retiredOnce, 'a1', 6000), 7000), []);
  });

  it('tell whose certificate is whose: without a name it is of the first, whatever came after', () => {
    const three = rotated(retired(two, 2000), 'c3', 3000);
    const of = (issuerSerial?: string): string | undefined =>
      issuingGeneration(three, issuerSerial === undefined ? {} : { issuerSerial })?.serial;
    assert.deepEqual([of(), of('b2'), of('c3'), of('d4')], ['a1', 'b2', 'c3', undefined]);
    assert.equal(issuingGeneration(authority(), {})?.serial, 'a1');
  });

  it('name themselves in the URLs of their certificates, but for the first, whose certificates name none; OCSP is asked at one place', () => {
    const urls = {
      crlUrls: ['http://pki:7480/crl/demo/cluster-ca.crl'],
      ocspUrls: ['http://pki:7480/ocsp/demo/cluster-ca'],
      caIssuerUrls: ['http://pki:7480/ca/demo/cluster-ca.crt'],
    };
    assert.deepEqual(urlsOf(authority(), urls), urls);
    assert.deepEqual(urlsOf(two, urls), {
      crlUrls: ['http://pki:7480/crl/demo/cluster-ca/b2.crl'],
      ocspUrls: urls.ocspUrls,
      caIssuerUrls: ['http://pki:7480/ca/demo/cluster-ca/b2.crt'],
    });
    assert.deepEqual(urlsOf(reverted(two, { nowMs: 3000, lastLeafNotAfterMs }), urls), urls);
    assert.deepEqual(urlsOf(two, {}), {});
  });

  describe('under an offline root', () => {
    const below = (name: string, root = 'root'): ReturnType<typeof generation> => generation(name, { chain: ['middle'], root });

    it('deliver themselves and what is above them behind every leaf, and the root never', () => {
      const record = authority(below('a1'));
      assert.deepEqual(intermediatesOf(record), [base64('certificate-a1'), base64('middle')]);
      assert.deepEqual(certificatesAbove(record), [base64('middle'), base64('root')]);
      assert.deepEqual(chainOf(record, { certificate: 'leaf' }), [base64('leaf'), base64('certificate-a1'), base64('middle')]);
      assert.deepEqual(chainOf(authority(), { certificate: 'leaf' }), [base64('leaf')]);
      assert.deepEqual(chainOf(undefined, { certificate: 'leaf' }), [base64('leaf')]);
    });

    it('are delivered by the generation that issued, not by the current one', () => {
      const record = activated(spread(withNext(authority(), below('b2'))), { nowMs, lastLeafNotAfterMs });
      assert.deepEqual(chainOf(record, { certificate: 'old' }), [base64('old')]);
      assert.deepEqual(chainOf(record, { certificate: 'new', issuerSerial: 'b2' }).length, 3);
    });

    it('put the root into the bundle, not themselves', () => {
      const record = spread(withNext(authority(), below('b2')));
      assert.deepEqual(record.bundle, ['certificate-a1', 'root']);
      assert.deepEqual(retired(activated(record, { nowMs, lastLeafNotAfterMs }), 2000).bundle, ['root']);
    });

    it('of one root have nothing to spread and nothing to take back', () => {
      const record = authority({ ...below('a1'), bundle: ['root'] });
      const next = withNext(record, below('b2'));
      assert.ok(shareRoot(next, next.next!));
      assert.equal(spread(next).bundleVersion, 1);
      const done = retired(activated(spread(next), { nowMs, lastLeafNotAfterMs }), 2000);
      assert.deepEqual([done.bundle, done.bundleVersion], [['root'], 1]);
      assert.equal(abandoned(next).bundleVersion, 1);
    });

    it('leave nothing of a chain behind when a root of its own follows', () => {
      const record = rotated(authority({ ...below('a1'), bundle: ['root'] }), 'b2');
      assert.deepEqual([record.chain, record.root], [undefined, undefined]);
      assert.deepEqual(retired(record, 2000).bundle, ['certificate-b2']);
    });
  });

  it('leave in the bundle what an import put there, through a whole rotation', () => {
    const record = authority({ bundle: ['certificate-a1', 'of-somebody-else'] });
    assert.deepEqual(retired(rotated(record, 'b2'), 2000).bundle, ['of-somebody-else', 'certificate-b2']);
    assert.deepEqual(abandoned(spread(withNext(record, generation('b2')))).bundle, record.bundle);
  });

  it('keep to their word whatever happens in whatever order', () => {
    const moves = fc.array(fc.constantFrom('next', 'nextUnderRoot', 'spread', 'activate', 'retire', 'abandon', 'revert'), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(moves, (all) => {
        let record = authority();
        let made = 1;
        const issued = new Set(['a1']);
        for (const move of all) {
          const before = record;
          try {
            record = apply(record, move, () => `g${++made}`);
          } catch (error) {
            assert.match(String(error), /cannot change its generation/);
          }
          issued.add(record.serial);
          const known = generationsOf(record).map(({ generation: { serial } }) => serial);
          assert.equal(new Set(known).size, known.length, 'no generation twice');
          assert.ok(
            [...issued].every((serial) => known.includes(serial)),
            'what has signed is never lost',
          );
          assert.equal(firstGeneration(record).serial, 'a1');
          assert.ok(record.bundle.length > 0 && new Set(record.bundle).size === record.bundle.length);
          assert.ok(record.bundle.includes(record.root ?? record.certificate), 'nodes trust what signs');
          const changed = record.bundle.join() !== before.bundle.join();
          assert.equal(record.bundleVersion, before.bundleVersion + (changed ? 1 : 0));
        }
      }),
      { numRuns: 300 },
    );
  });
});

function apply(record: AuthorityRecord, move: string, name: () => string): AuthorityRecord {
  switch (move) {
    case 'next':
      return withNext(record, generation(name()));
    case 'nextUnderRoot':
      return withNext(record, generation(name(), { root: 'root' }));
    case 'spread':
      return spread(record);
    case 'activate':
      return activated(record, { nowMs, lastLeafNotAfterMs });
    case 'retire':
      return retired(record, nowMs);
    case 'abandon':
      return abandoned(record);
    default:
      return reverted(record, { nowMs, lastLeafNotAfterMs });
  }
}
