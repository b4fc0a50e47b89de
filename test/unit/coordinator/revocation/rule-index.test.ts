import assert from 'node:assert/strict';
import type { MatchedCertificate, RevocationMatch } from '@evercert/coordinator/revocation';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { RevocationEntry } from '@evercert/shared/manifest';
import fc from 'fast-check';
import { certificateOf, entriesOf, Objects } from '../../../support/revocations.ts';

/** The slow matcher: every entry is held against the certificate in turn, by rules written anew from the documents. */
function slowMatch(entry: RevocationEntry, certificate: MatchedCertificate, issuedAtMs: number): boolean {
  if (entry.notBeforeMs !== undefined && !(issuedAtMs < entry.notBeforeMs)) return false;
  switch (entry.kind) {
    case 'SerialNumber':
      return BigInt(`0x${entry.serialNumber}`) === BigInt(`0x${certificate.serial}`);
    case 'Group':
      return certificate.organizations.some((o) => slowFold(o) === slowFold(entry.group));
    case 'IP':
      return certificate.ipAddresses.some((address) => slowAddress(address) === slowAddress(entry.ip));
    case 'DNS': {
      const { commonName, dnsNames, ipAddresses, uris } = certificate;
      const bare = dnsNames.length + ipAddresses.length + uris.length === 0;
      return (bare && !commonName.includes(':') ? [commonName] : dnsNames).some((name) => slowName(entry.dns, name));
    }
  }
}

function slowFold(text: string): string {
  return text.split(/\s/).filter(Boolean).join(' ').toLowerCase();
}

function slowName(pattern: string, name: string): boolean {
  const labels = (text: string): string[] => text.toLowerCase().split('.').filter(Boolean).reverse();
  const [wanted, found] = [labels(pattern), labels(name)];
  const suffix = pattern.startsWith('.');
  return wanted.every((label, index) => found[index] === label) && (suffix ? found.length > wanted.length : found.length === wanted.length);
}

/** An address as a number of 128 bits, IPv4 as its mapped form. */
function slowAddress(text: string): bigint {
  if (!text.includes(':')) return text.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n) + 0xffff_0000_0000n;
  const [head = '', tail] = text.split('::') as [string, string | undefined];
  const groups = (part: string | undefined): bigint[] => (part ? part.split(':').map((group) => BigInt(`0x${group}`)) : []);
  const [left, right] = [groups(head), groups(tail)];
  const middle = Array.from({ length: 8 - left.length - right.length }, () => 0n);
  return [...left, ...middle, ...right].reduce((sum, group) => sum * 65_536n + group, 0n);
}

/** Few words, so that hits and near misses are common. */
const label = fc.constantFrom('a', 'b', 'svc', 'local', 'A', 'xn--tda');
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
const certificateName = fc.oneof(
  name,
  name.map((text) => `*.${text}`),
  name.map((text) => `${text}.`),
);
const group = fc.constantFrom('system:nodes', 'System:Nodes', 'a b', 'a  b', 'ab', '1e3');
const address = fc.constantFrom('10.0.0.1', '::ffff:a00:1', '::1', '0:0:0:0:0:0:0:1', 'fd00::1', 'FD00:0::1', '10.0.0.2', '::');
const serial = fc.constantFrom('07', '0700', 'f00d', '77fdf4b1033b387aaace6ce1c18710c2', '0001f4');
const time = fc.integer({ min: 0, max: 6 });

const text = (value: string): string => JSON.stringify(value);
const entry = fc
  .tuple(
    fc.oneof(
      fc.tuple(
        fc.constant('kind: serialnumber, serialNumber'),
        serial.map((hex) => `0x00${hex}`),
      ),
      fc.tuple(fc.constant('kind: Group, group'), group),
      fc.tuple(
        fc.constant('kind: DNS, dns'),
        fc.oneof(
          certificateName,
          name.map((suffix) => `.${suffix}`),
        ),
      ),
      fc.tuple(fc.constant('kind: IP, ip'), address),
    ),
    fc.option(time),
  )
  .map(([[kind, value], notBefore]) => {
    const reach = notBefore === null ? '' : `, notBefore: "1970-01-01T00:00:00.00${notBefore}Z"`;
    return `{ ${kind}: ${text(value)}${reach} }`;
  });

const certificate: fc.Arbitrary<MatchedCertificate> = fc
  .record({
    serial,
    commonName: fc.oneof(name, fc.constant('system:node:a.local')),
    organizations: fc.array(group, { maxLength: 2 }),
    dnsNames: fc.array(certificateName, { maxLength: 3 }),
    ipAddresses: fc.array(address, { maxLength: 2 }),
    uris: fc.subarray(['spiffe://demo.evercert/node/a']),
    issuedAtMs: time,
  })
  .map((fields) => certificateOf(fields));

const objects = fc.uniqueArray(
  fc.record({ name: fc.constantFrom('one', 'two', 'three'), entries: fc.array(entry, { minLength: 1, maxLength: 8 }) }),
  {
    selector: (object) => object.name,
    maxLength: 3,
  },
);

const keyOf = ({ object, entry: index }: Pick<RevocationMatch, 'object' | 'entry'>): string => `${object}#${index}`;

describe('the index of entries', () => {
  it('finds what a slow matcher finds, and the strongest first', () => {
    fc.assert(
      fc.property(objects, certificate, time, (made, subject, nowMs) => {
        const kept = new Objects();
        const parsed = made.map(({ name: object, entries }) => ({ object, entries: entriesOf(...entries) }));
        for (const { object, entries } of parsed) kept.put(object, entries);
        const slow = (of: MatchedCertificate, atMs: number, withoutSerials: boolean): string[] =>
          parsed.flatMap(({ object, entries }) =>
            entries.flatMap((one, index) =>
              !(withoutSerials && one.kind === 'SerialNumber') && slowMatch(one, of, atMs) ? [keyOf({ object, entry: index })] : [],
            ),
          );
        const found = kept.revocations.matchIssued(subject);
        assert.deepEqual(found.map(keyOf).sort(), slow(subject, subject.issuedAtMs, false).sort());
        const would = kept.revocations.matchProfile('demo', subject, nowMs);
        assert.deepEqual(would.map(keyOf).sort(), slow(subject, nowMs, true).sort());

        const question = { cluster: 'demo', current: subject, profile: subject, nowMs };
        const strongest = [...found, ...would].reduce(
          (most, { notBeforeMs = Number.POSITIVE_INFINITY }) => Math.max(most, notBeforeMs),
          -1,
        );
        const refusal = kept.revocations.find({ ...question, ignoreCurrent: false });
        assert.equal(refusal === undefined, found.length + would.length === 0);
        if (refusal) {
          assert.equal(refusal.match.notBeforeMs ?? Number.POSITIVE_INFINITY, strongest);
          assert.equal(refusal.future, would.length > 0);
        }
        assert.equal(kept.revocations.find({ ...question, ignoreCurrent: true }) === undefined, would.length === 0);
      }),
      { numRuns: 400 },
    );
  });

  it('is the same after changes and deletions as if only what is left had ever been there', () => {
    const step = fc.record({ name: fc.constantFrom('one', 'two', 'three'), entries: fc.array(entry, { maxLength: 5 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), fc.array(certificate, { minLength: 1, maxLength: 5 }), (steps, subjects) => {
        const changed = new Objects();
        const left = new Map<string, string[]>();
        for (const { name: object, entries } of steps) {
          if (entries.length === 0) changed.drop(object);
          else changed.put(object, entriesOf(...entries));
          if (entries.length === 0) left.delete(object);
          else left.set(object, entries);
        }
        const afresh = new Objects();
        for (const [object, entries] of left) afresh.put(object, entriesOf(...entries));
        assert.equal(changed.revocations.entries('demo'), afresh.revocations.entries('demo'));
        for (const subject of subjects) assert.deepEqual(changed.revocations.matchIssued(subject), afresh.revocations.matchIssued(subject));
      }),
      { numRuns: 150 },
    );
  });

  it('names successors as the entry that brought them', () => {
    const kept = new Objects();
    const { objects: informer } = kept.revocations;
    kept.put('x', entriesOf('{ kind: serialnumber, serialNumber: aa }'));
    const record = kept.revocations.get('demo', 'x')!;
    const entries = record.entries.map((one) => ({ ...one, successorSerials: ['bb', 'cc'] }));
    informer.accept('/evercert/v1/revocations/demo/x', { ...record, entries }, 100);
    for (const hex of ['aa', 'bb', 'cc'])
      assert.deepEqual(
        kept.revocations.matchIssued(certificateOf({ serial: hex })).map(({ value }) => value),
        ['aa'],
      );
    assert.equal(kept.revocations.matchIssued(certificateOf({ serial: 'dd' })).length, 0);
    assert.equal(kept.revocations.matchSerial('demo', '00:BB', 0)?.value, 'aa');
    informer.drop('/evercert/v1/revocations/demo/x', 101);
    assert.equal(kept.revocations.entries('demo'), 0);
  });
});

describe('a refusal', () => {
  const profile = { commonName: 'c', organizations: ['g'], dnsNames: ['a.b'], ipAddresses: [] };
  const refusalOf = (entry: string, current: MatchedCertificate | undefined, nowMs: number): EvercertError => {
    const kept = new Objects();
    kept.put('incident', entriesOf('{ kind: ip, ip: 192.0.2.1 }', entry));
    try {
      kept.revocations.check({ cluster: 'demo', current, profile, nowMs, ignoreCurrent: false });
    } catch (error) {
      assert.ok(error instanceof EvercertError);
      assert.equal(kept.revocations.refusalsTotal, 1);
      return error;
    }
    assert.fail('it was not refused');
  };

  it('of what would be issued says that repair does not help, and how it would', () => {
    const error = refusalOf('{ kind: group, group: g, description: gone }', undefined, 0);
    assert.equal(error.code, 'Revoked');
    assert.deepEqual(error.metadata, { object: 'incident', entry: '1', kind: 'Group', value: 'g' });
    assert.match(
      error.message,
      /^what would be issued \("gone"\) is revoked by entry 2 \(Group g\) of RenewRevocation incident: .*by repair neither; set a notBefore/,
    );
  });

  it('until a time says until when', () => {
    const error = refusalOf('{ kind: dns, dns: .b, notBefore: 1970-01-01T00:00:01Z }', undefined, 0);
    assert.equal(error.metadata['notBefore'], '1970-01-01T00:00:01.000Z');
    assert.match(error.message, /issued before 1970-01-01T00:00:01.000Z\) of RenewRevocation incident: nothing is issued before that time/);
  });

  it('of the certificate in use says that repair helps', () => {
    const error = refusalOf('{ kind: serialnumber, serialNumber: f00d }', certificateOf(), 0);
    assert.match(
      error.message,
      /^the certificate in use is revoked by entry 2 .*'evercert repair demo' issues a fresh one; see docs\/revocation\.md/,
    );
  });

  it('is told of when a notBefore that lay ahead has come', async () => {
    const clock = new FakeClock();
    const kept = new Objects(clock);
    const told: string[] = [];
    kept.revocations.subscribe((cluster) => told.push(cluster));
    const notBefore = new Date(clock.nowMs() + 60_000).toISOString();
    kept.put('x', entriesOf(`{ kind: group, group: g, notBefore: "${notBefore}" }`));
    told.length = 0;
    await clock.advance(59_000);
    assert.deepEqual(told, []);
    await clock.advance(1000);
    assert.deepEqual(told, ['demo']);
    assert.deepEqual(kept.revocations.matchProfile('demo', profile, clock.nowMs()), []);
    assert.equal(clock.pending, 0);
  });
});
