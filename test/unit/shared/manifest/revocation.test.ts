import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  formatRfc3339,
  loadDocuments,
  manifestLimits,
  parseDocuments,
  parseRfc3339,
  type RenewRevocation,
  toYaml,
} from '@evercert/shared/manifest';
import { canonicalDnsName, canonicalDnsPattern, foldGroup, revocationReasons } from '@evercert/shared/revocation';
import { assertFaults, faultsOf } from './support.ts';

const sample = readFileSync(join(import.meta.dirname, '../../../fixtures/founding-revocation.yaml'), 'utf8');

/** A document whose entries begin on line 6. */
function documentOf(...entries: string[]): string {
  const lines = entries.map((entry) => `  - ${entry}\n`).join('');
  return `apiVersion: certificates.microsoft.com/v1\nkind: RenewRevocation\nmetadata: { name: x }\nspec:\n  revocations:\n${lines}`;
}

function read(text: string): RenewRevocation {
  return loadDocuments([{ file: 'r.yaml', text }])[0]!.document as RenewRevocation;
}

describe('RenewRevocation', () => {
  it("reads the founding document's sample as it stands, into five entries", () => {
    const base = { reason: 'unspecified' };
    assert.deepEqual(read(sample), {
      kind: 'RenewRevocation',
      apiVersion: 'certificates.microsoft.com/v1',
      metadata: { name: 'my-renew-revocation', namespace: 'kube-system' },
      spec: {
        description: 'My list of renew revocations',
        revocations: [
          {
            ...base,
            kind: 'SerialNumber',
            description: 'Revoked certificates by serial number',
            serialNumber: '77fdf4b1033b387aaace6ce1c18710c2',
            includeSuccessors: true,
            notBeforeMs: Date.parse('2020-04-17T17:22:05Z'),
          },
          { ...base, kind: 'Group', description: 'Revoked certificates by group', group: 'system:nodes' },
          { ...base, kind: 'DNS', description: 'Revoked certificates by DNS', dns: 'kubernetes.default.svc' },
          { ...base, kind: 'DNS', description: 'Revoked certificates by DNS Suffix', dns: '.cluster.local' },
          { ...base, kind: 'IP', description: 'Revoked certificates by IP', ip: '170.63.128.124' },
        ],
      },
    });
    assert.equal(parseDocuments(sample, { file: 's' }).documents[0]?.text, sample);
  });

  it('has a canonical form that reads back to the same, in our API version too', () => {
    const text = sample.replace('certificates.microsoft.com/v1', 'evercert.io/v1');
    const document = read(text);
    assert.equal(document.apiVersion, 'evercert.io/v1');
    const yaml = toYaml(document);
    assert.deepEqual(read(yaml), document);
    assert.equal(toYaml(read(yaml)), yaml);
  });

  it('takes serial numbers from the text, whatever YAML reads them as', () => {
    const written = ['1234', '12e5', '0x12', '007', '1e3', '340282366920938463463374607431768211455', '"0X12"', '12:34', '&a 99', '*a'];
    const { spec } = read(documentOf(...written.map((serial) => `{ kind: SERIALNUMBER, serialNumber: ${serial} }`)));
    assert.deepEqual(
      spec.revocations.map((entry) => entry.kind === 'SerialNumber' && entry.serialNumber),
      ['1234', '12e5', '12', '07', '01e3', '0340282366920938463463374607431768211455', '12', '1234', '99', '99'],
    );
    const json = JSON.stringify({
      apiVersion: 'evercert.io/v1',
      kind: 'RenewRevocation',
      metadata: { name: 'x' },
      spec: { revocations: [{ kind: 'serialnumber', serialNumber: 123456789 }] },
    }).replace('123456789', '123456789012345678901234567890');
    assert.equal((read(json).spec.revocations[0] as { serialNumber: string }).serialNumber, '123456789012345678901234567890');
  });

  it('reads kinds in any case, times of RFC 3339, reasons, and whether successors count', () => {
    const { spec } = read(
      documentOf(
        '{ kind: "dNs ", dns: A.example., reason: keyCompromise, notBefore: "2026-06-01T14:00:00.5+02:00" }',
        '{ kind: SerialNumber, serialNumber: aa, includeSuccessors: false }',
        '{ kind: GROUP, group: 1e3 }',
      ),
    );
    assert.deepEqual(spec.revocations, [
      { kind: 'DNS', dns: 'a.example', description: '', reason: 'keyCompromise', notBeforeMs: Date.parse('2026-06-01T12:00:00.500Z') },
      { kind: 'SerialNumber', serialNumber: 'aa', includeSuccessors: false, description: '', reason: 'unspecified' },
      { kind: 'Group', group: '1e3', description: '', reason: 'unspecified' },
    ]);
    assert.ok(!(revocationReasons as readonly string[]).includes('removeFromCRL'));
  });

  it('takes what kubectl shows of an object', () => {
    const text = sample.replace(
      '  namespace: kube-system',
      '  namespace: kube-system\n  uid: u\n  resourceVersion: "7"\n  generation: 1\n  labels: { a: b }\n  annotations: {}',
    );
    assert.equal(read(`${text}status: { matches: 3 }\n`).spec.revocations.length, 5);
  });

  const refused: [title: string, entry: string, fault: string | RegExp][] = [
    [
      'an unknown kind',
      '{ kind: serialnumbr, serialNumber: aa }',
      'r.yaml:6:13: spec.revocations[0].kind: unknown kind "serialnumbr"; did you mean "SerialNumber"?',
    ],
    [
      'a kind that is near to none',
      '{ kind: user, group: a }',
      /^r\.yaml:6:13: .*unknown kind "user"; expected one of SerialNumber, Group, DNS, IP, in any case$/,
    ],
    ['no kind', '{ dns: a }', /^r\.yaml:6:5: spec\.revocations\[0\]\.kind: missing/],
    ['a number for a kind', '{ kind: 5, dns: a }', /^r\.yaml:6:13: .*unknown kind "5"/],
    ['a kind without its value', '{ kind: DNS }', /^r\.yaml:6:5: spec\.revocations\[0\]\.dns: missing; expected a DNS name/],
    ['an empty value', '{ kind: Group, group: " " }', /^r\.yaml:6:27: spec\.revocations\[0\]\.group: expected a group .*found empty text$/],
    [
      'the field of another kind',
      '{ kind: DNS, dns: a, group: b }',
      /^r\.yaml:6:33: spec\.revocations\[0\]\.group: an entry of kind DNS has its value in dns; .*kind: Group$/,
    ],
    [
      'successors of what is no serial number',
      '{ kind: IP, ip: "::1", includeSuccessors: true }',
      /^r\.yaml:6:47: .*includeSuccessors: only an entry of kind SerialNumber/,
    ],
    [
      'an unknown field',
      '{ kind: DNS, dns: a, notbefore: "2020-01-01T00:00:00Z" }',
      /^r\.yaml:6:26: .*unknown key "notbefore"; did you mean "notBefore"/,
    ],
    [
      'a serial number that is not hexadecimal',
      '{ kind: serialnumber, serialNumber: 12g4 }',
      /^r\.yaml:6:41: .*"12g4" is not a serial number; expected 1 to 40 hex digits/,
    ],
    ['a serial number of zero', '{ kind: serialnumber, serialNumber: 0x00 }', /^r\.yaml:6:41: .*is not a serial number/],
    ['a serial number of more than 20 bytes', `{ kind: serialnumber, serialNumber: 1${'0'.repeat(40)} }`, /is not a serial number/],
    ['a negative serial number', '{ kind: serialnumber, serialNumber: -12 }', /^r\.yaml:6:41: .*"-12" is not a serial number/],
    ['a serial number with a fraction', '{ kind: serialnumber, serialNumber: 1.5 }', /^r\.yaml:6:41: .*"1\.5" is not a serial number/],
    ['no serial number', '{ kind: serialnumber, serialNumber: }', /^r\.yaml:6:41: .*expected text, found nothing/],
    ['a lone dot', '{ kind: DNS, dns: "." }', /^r\.yaml:6:23: .*a lone dot would match every name/],
    ['a suffix with a wildcard', '{ kind: DNS, dns: ".*.a" }', /^r\.yaml:6:23: .*a suffix holds no wildcard/],
    ['a wildcard in the middle', '{ kind: DNS, dns: "a.*.b" }', /^r\.yaml:6:23: .*a wildcard must be the whole leftmost label/],
    ['a lone wildcard', '{ kind: DNS, dns: "*" }', /^r\.yaml:6:23: .*a wildcard must be followed by a domain/],
    ['two dots in a row', '{ kind: DNS, dns: a..b }', /^r\.yaml:6:23: .*two in a row/],
    ['an address for a name', '{ kind: DNS, dns: 10.0.0.1 }', /^r\.yaml:6:23: .*found an IP address; write an entry of kind IP/],
    ['an underscore', '{ kind: DNS, dns: a_b.c }', /^r\.yaml:6:23: .*letters, digits and hyphens/],
    ['a name for an address', '{ kind: IP, ip: localhost }', /^r\.yaml:6:21: .*expected an IPv4 or IPv6 address, found "localhost"$/],
    ['a range for an address', '{ kind: IP, ip: 10.0.0.0/8 }', /^r\.yaml:6:21: .*expected an IPv4 or IPv6 address/],
    ['an address with a zone', '{ kind: IP, ip: "fe80::1%eth0" }', /^r\.yaml:6:21: .*expected an IPv4 or IPv6 address/],
    ['an address with leading zeros', '{ kind: IP, ip: 010.0.0.1 }', /^r\.yaml:6:21: .*expected an IPv4 or IPv6 address/],
    ['a shortened address', '{ kind: IP, ip: 127.1 }', /^r\.yaml:6:21: .*expected an IPv4 or IPv6 address, found "127\.1"$/],
    [
      'a date without a time',
      '{ kind: DNS, dns: a, notBefore: 2020-04-17 }',
      /^r\.yaml:6:37: .*expected a time of RFC 3339.*found "2020-04-17"$/,
    ],
    ['a time without a zone', '{ kind: DNS, dns: a, notBefore: 2020-04-17T17:22:05 }', /^r\.yaml:6:37: .*RFC 3339/],
    ['a day that there is not', '{ kind: DNS, dns: a, notBefore: 2021-02-29T00:00:00Z }', /^r\.yaml:6:37: .*RFC 3339/],
    ['seconds since the epoch', '{ kind: DNS, dns: a, notBefore: 1587144125 }', /^r\.yaml:6:37: .*found "1587144125"$/],
    [
      'a notBefore of nothing, which would mean all',
      '{ kind: DNS, dns: a, notBefore: }',
      /^r\.yaml:6:37: .*leave the key out to revoke all, present and future$/,
    ],
    ['an unknown reason', '{ kind: DNS, dns: a, reason: keycompromise }', /^r\.yaml:6:34: .*did you mean "keyCompromise"/],
    ['a reason of delta CRLs', '{ kind: DNS, dns: a, reason: removeFromCRL }', /^r\.yaml:6:34: .*expected one of "unspecified"/],
    ['a text for an entry', 'kubernetes', /^r\.yaml:6:5: spec\.revocations\[0\]: expected a mapping, found "kubernetes"$/],
    [
      'a description that is too long',
      `{ kind: DNS, dns: a, description: ${'d'.repeat(257)} }`,
      /^r\.yaml:6:39: .*at most 256 characters, found 257$/,
    ],
  ];
  for (const [title, entry, fault] of refused) {
    it(`refuses ${title}, with its line`, () =>
      assertFaults(
        faultsOf(() => read(documentOf(entry))),
        [fault],
      ));
  }

  it('reports the faults of all entries, each with its line', () => {
    const faults = faultsOf(() =>
      read(documentOf('{ kind: DNS, dns: "." }', '{ kind: DNS, dns: a }', '{ kind: IP, ip: x, notBefore: y }')),
    );
    assertFaults(faults, [
      /^r\.yaml:6:23: spec\.revocations\[0\]\.dns/,
      /^r\.yaml:8:21: spec\.revocations\[2\]\.ip/,
      /^r\.yaml:8:35: spec\.revocations\[2\]\.notBefore/,
    ]);
  });

  it('refuses no entries, too many, and another API version', () => {
    assertFaults(
      faultsOf(() => read('apiVersion: evercert.io/v1\nkind: RenewRevocation\nmetadata: { name: x }\nspec: { revocations: [] }\n')),
      [/^r\.yaml:4:22: spec\.revocations: expected at least 1 items, found 0$/],
    );
    const many = Array.from({ length: manifestLimits.revocationEntries + 1 }, () => '{ kind: DNS, dns: a }');
    assertFaults(
      faultsOf(() => read(documentOf(...many))),
      [/expected at most 1000 items, found 1001$/],
    );
    assert.equal(read(documentOf(...many.slice(1))).spec.revocations.length, 1000);
    assertFaults(
      faultsOf(() => read(sample.replace('certificates.microsoft.com/v1', 'certificates.microsoft.com/v2'))),
      [
        /^r\.yaml:1:13: apiVersion: expected certificates\.microsoft\.com\/v1 or evercert\.io\/v1, found "certificates\.microsoft\.com\/v2"$/,
      ],
    );
    assertFaults(
      faultsOf(() => read('apiVersion: certificates.microsoft.com/v1\nkind: Node\nmetadata: { name: x }\nspec: { role: worker }\n')),
      [/^r\.yaml:1:13: apiVersion: expected evercert\.io\/v1, found/],
    );
  });
});

describe('canonical forms of what entries match', () => {
  it('make one name of its spellings', () => {
    for (const spelling of ['Bücher.example', 'BÜCHER.EXAMPLE.', 'xn--bcher-kva.example', 'bu\u0308cher。example']) {
      assert.equal(canonicalDnsName(spelling), 'xn--bcher-kva.example');
      assert.deepEqual(canonicalDnsPattern(`.${spelling}`), { value: '.xn--bcher-kva.example' });
    }
    // What a URL's host could mean else is not asked.
    assert.equal(canonicalDnsName('127.1'), '127.1');
    assert.equal(canonicalDnsName('ü%2e/@:x'), 'ü%2e/@:x');
  });

  it('make one group of its spellings', () => {
    assert.equal(foldGroup('  System:\u00a0 Nodes '), 'system: nodes');
    assert.equal(foldGroup('ΣΊΣΥΦΟΣ'), foldGroup('Σίσυφος'));
  });

  it('read and write times of RFC 3339', () => {
    assert.equal(parseRfc3339('2020-04-17T17:22:05Z'), Date.UTC(2020, 3, 17, 17, 22, 5));
    assert.equal(parseRfc3339('2020-04-17t19:22:05.070+02:00'), Date.UTC(2020, 3, 17, 17, 22, 5, 70));
    assert.equal(parseRfc3339('2016-12-31T23:59:60Z'), Date.UTC(2017, 0, 1));
    assert.equal(parseRfc3339('0000-02-29T00:00:00Z'), new Date('0000-02-29T00:00:00Z').getTime());
    for (const wrong of [
      '',
      '2020-04-17',
      '2020-04-17T24:00:00Z',
      '2020-04-17T17:60:00Z',
      '2020-04-31T00:00:00Z',
      '2020-04-17T17:22:05+24:00',
      '20-04-17T17:22:05Z',
    ])
      assert.equal(parseRfc3339(wrong), undefined, wrong);
    assert.equal(formatRfc3339(Date.UTC(2020, 3, 17)), '2020-04-17T00:00:00Z');
    assert.equal(formatRfc3339(1), '1970-01-01T00:00:00.001Z');
  });
});
