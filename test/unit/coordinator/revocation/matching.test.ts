import assert from 'node:assert/strict';
import type { MatchedCertificate } from '@evercert/coordinator/revocation';
import { certificateOf, entriesOf, Objects } from '../../../support/revocations.ts';

type Row = [entry: string, certificate: Partial<MatchedCertificate>, matches: boolean];

const serial = (text: string, rest = ''): string => `{ kind: serialnumber, serialNumber: ${text}${rest} }`;
const group = (text: string): string => `{ kind: Group, group: "${text}" }`;
const dns = (text: string): string => `{ kind: DNS, dns: "${text}" }`;
const ip = (text: string): string => `{ kind: IP, ip: "${text}" }`;
const named = (...dnsNames: string[]): Partial<MatchedCertificate> => ({ dnsNames });
const at = (...ipAddresses: string[]): Partial<MatchedCertificate> => ({ ipAddresses });
const of = (...organizations: string[]): Partial<MatchedCertificate> => ({ organizations });
const cn = (commonName: string, rest: Partial<MatchedCertificate> = {}): Partial<MatchedCertificate> => ({ commonName, ...rest });

const long = '77fdf4b1033b387aaace6ce1c18710c2';

const tables: Record<string, Row[]> = {
  'serial numbers are compared as numbers': [
    [serial(long), { serial: long }, true],
    [serial(long), { serial: '77fdf4b1033b387aaace6ce1c18710c3' }, false],
    [serial(long.toUpperCase()), { serial: long }, true],
    [serial(`0x${long}`), { serial: long }, true],
    [serial(`0X${long.toUpperCase()}`), { serial: long }, true],
    [serial(`"${long.match(/../g)?.join(':')}"`), { serial: long }, true],
    [serial(`"${long.match(/../g)?.join(' ')}"`), { serial: long }, true],
    [serial(`00${long}`), { serial: long }, true],
    [serial(`"0000:${long}"`), { serial: long }, true],
    [serial(long), { serial: `00${long}` }, true],
    [serial('1234'), { serial: '1234' }, true],
    [serial('1234'), { serial: '04d2' }, false],
    [serial('0x12'), { serial: '12' }, true],
    [serial('0x12'), { serial: '18' }, false],
    [serial('12e5'), { serial: '12e5' }, true],
    [serial('12e5'), { serial: '124f80' }, false],
    [serial('1e3'), { serial: '01e3' }, true],
    [serial('7'), { serial: '07' }, true],
    [serial('007'), { serial: '07' }, true],
    [serial('0700'), { serial: '07' }, false],
    [serial('123456789012345678901234567890'), { serial: '123456789012345678901234567890' }, true],
    [serial('123456789012345678901234567890'), { serial: '123456789012345680000000000000' }, false],
    [serial('"f00d"'), { serial: 'f00d', organizations: ['o'], dnsNames: ['a'], issuedAtMs: 0 }, true],
    [serial('"f0"'), { serial: 'f00d' }, false],
  ],
  'groups are compared as RFC 5280 compares names': [
    [group('system:nodes'), of('system:nodes'), true],
    [group('system:nodes'), of('system:masters', 'system:nodes'), true],
    [group('system:nodes'), of('system:node'), false],
    [group('system:node'), of('system:nodes'), false],
    [group('system:nodes'), of(), false],
    [group('system:nodes'), cn('system:nodes'), false],
    [group('system:nodes'), named('system:nodes'), false],
    [group('System:Nodes'), of('system:nodes'), true],
    [group('system:nodes'), of('SYSTEM:NODES'), true],
    [group('  a  b '), of('a b'), true],
    [group('a b'), of('a  b'), true],
    [group('a b'), of('ab'), false],
    [group('Straße'), of('STRASSE'), true],
    [group('ﬁne'), of('fine'), true],
    [group('é'), of('e\u0301'), true],
    [group('e'), of('é'), false],
    ['{ kind: group, group: 1e3 }', of('1e3'), true],
    ['{ kind: group, group: 1e3 }', of('1000'), false],
    ['{ kind: group, group: true }', of('true'), true],
  ],
  'DNS names are compared without case, the final dot and in A-labels': [
    [dns('kubernetes.default.svc'), named('kubernetes.default.svc'), true],
    [dns('kubernetes.default.svc.'), named('kubernetes.default.svc'), true],
    [dns('kubernetes.default.svc'), named('kubernetes.default.svc.'), true],
    [dns('Kubernetes.Default.SVC'), named('kubernetes.default.svc'), true],
    [dns('kubernetes.default.svc'), named('KUBERNETES.default.svc'), true],
    [dns('kubernetes.default.svc'), named('kubernetes.default'), false],
    [dns('kubernetes.default.svc'), named('kubernetes.default.svc.cluster.local'), false],
    [dns('default.svc'), named('kubernetes.default.svc'), false],
    [dns('kubernetes.default.svc'), named('a', 'b', 'kubernetes.default.svc', 'c'), true],
    [dns('a'), named('a'), true],
    [dns('a'), named('aa'), false],
    [dns('münchen.example'), named('xn--mnchen-3ya.example'), true],
    [dns('MÜNCHEN.example.'), named('xn--mnchen-3ya.example'), true],
    [dns('xn--mnchen-3ya.example'), named('XN--MNCHEN-3YA.example'), true],
    [dns('xn--mnchen-3ya.example'), named('münchen.example'), true],
    [dns('munchen.example'), named('xn--mnchen-3ya.example'), false],
    [dns('a。example'), named('a.example'), true],
    [dns('a.example'), { ipAddresses: ['10.0.0.1'], commonName: 'a.example' }, false],
    [dns('a.example'), { uris: ['https://a.example'] }, false],
    [dns('a.example'), of('a.example'), false],
    [dns('1.5'), named('1.5'), true],
  ],
  'a suffix matches whole labels, and one more than itself': [
    [dns('.cluster.local'), named('kubernetes.default.svc.cluster.local'), true],
    [dns('.cluster.local'), named('a.cluster.local'), true],
    [dns('.cluster.local'), named('cluster.local'), false],
    [dns('.cluster.local'), named('.cluster.local'), true],
    [dns('.cluster.local'), named('mycluster.local'), false],
    [dns('.cluster.local'), named('a.mycluster.local'), false],
    [dns('.cluster.local'), named('a.cluster.local.example'), false],
    [dns('.cluster.local'), named('a.cluster.locale'), false],
    [dns('.cluster.local.'), named('a.cluster.local'), true],
    [dns('.cluster.local'), named('a.cluster.local.'), true],
    [dns('.Cluster.LOCAL'), named('A.CLUSTER.local'), true],
    [dns('.local'), named('a.b.c.d.local'), true],
    [dns('.local'), named('local'), false],
    [dns('.svc.cluster.local'), named('a.svc.cluster.local'), true],
    [dns('.svc.cluster.local'), named('a.cluster.local'), false],
    [dns('.a.svc.cluster.local'), named('a.svc.cluster.local'), false],
    [dns('.münchen.example'), named('a.xn--mnchen-3ya.example'), true],
    [dns('.example'), named('x.y', 'z.example'), true],
    [dns('.0.0.1'), at('10.0.0.1'), false],
  ],
  'a wildcard name is matched by itself and by a suffix that covers it': [
    [dns('*.example.com'), named('*.example.com'), true],
    [dns('*.Example.COM.'), named('*.example.com'), true],
    [dns('.example.com'), named('*.example.com'), true],
    [dns('.com'), named('*.example.com'), true],
    [dns('example.com'), named('*.example.com'), false],
    [dns('a.example.com'), named('*.example.com'), false],
    [dns('*.example.com'), named('a.example.com'), false],
    [dns('*.example.com'), named('example.com'), false],
    [dns('*.com'), named('*.example.com'), false],
    [dns('.a.example.com'), named('*.example.com'), false],
    [dns('.example.com'), named('*.com'), false],
    [dns('*.münchen.example'), named('*.xn--mnchen-3ya.example'), true],
  ],
  'the common name is a DNS name only where there is no SAN': [
    [dns('kube-apiserver-kubelet-client'), cn('kube-apiserver-kubelet-client'), true],
    [dns('Front-Proxy-Client.'), cn('front-proxy-client'), true],
    [dns('.example.com'), cn('a.example.com'), true],
    [dns('.example.com'), cn('example.com'), false],
    [dns('*.example.com'), cn('*.example.com'), true],
    [dns('a.example.com'), cn('a.example.com', { dnsNames: ['b.example.com'] }), false],
    [dns('a.example.com'), cn('a.example.com', { ipAddresses: ['10.0.0.1'] }), false],
    [dns('a.example.com'), cn('a.example.com', { uris: ['spiffe://demo.evercert/node/a.example.com'] }), false],
    [dns('.com'), cn('a.example.com', { dnsNames: ['b.org'] }), false],
    [dns('a.example.com'), cn('a.example.com', { organizations: ['o'] }), true],
    [dns('cp-1'), cn('system:node:cp-1'), false],
    [dns('.example.com'), cn('system:node:cp-1.example.com'), false],
    [ip('10.0.0.1'), cn('10.0.0.1'), false],
    [dns('.0.0.1'), cn('10.0.0.1'), false],
  ],
  'addresses are compared as addresses': [
    [ip('170.63.128.124'), at('170.63.128.124'), true],
    [ip('170.63.128.124'), at('170.63.128.12'), false],
    [ip('170.63.128.12'), at('170.63.128.124'), false],
    [ip('10.0.0.1'), at('127.0.0.1', '10.0.0.1'), true],
    [ip('::ffff:10.0.0.1'), at('10.0.0.1'), true],
    [ip('::FFFF:0a00:0001'), at('10.0.0.1'), true],
    [ip('10.0.0.1'), at('::ffff:10.0.0.1'), true],
    [ip('10.0.0.1'), at('::ffff:a00:1'), true],
    [ip('::10.0.0.1'), at('10.0.0.1'), false],
    [ip('fd00::1'), at('fd00::1'), true],
    [ip('FD00:0:0:0:0:0:0:1'), at('fd00::1'), true],
    [ip('fd00:0000::0001'), at('FD00::1'), true],
    [ip('fd00::1'), at('fd00:0:0:0::1'), true],
    [ip('fd00::1'), at('fd00::1:0'), false],
    [ip('fd00::1'), at('fd01::1'), false],
    [ip('::1'), at('0:0:0:0:0:0:0:1'), true],
    [ip('::1'), at('127.0.0.1'), false],
    [ip('2001:db8::a:b'), at('2001:0db8:0000:0000:0000:0000:000a:000b'), true],
    [ip('10.0.0.1'), named('10.0.0.1'), false],
    [ip('10.0.0.1'), at(), false],
  ],
};

/** The certificate of these rows is recorded as issued at 12:00:00.000 UTC. */
const reach: [notBefore: string | undefined, matches: boolean][] = [
  [undefined, true],
  ['2026-06-01T12:00:00Z', false],
  ['2026-06-01T12:00:00.001Z', true],
  ['2026-06-01T12:00:00.0001Z', true],
  ['2026-06-01T11:59:59.999Z', false],
  ['2026-06-01T12:00:01Z', true],
  ['2026-06-01T14:00:00+02:00', false],
  ['2026-06-01T14:00:01+02:00', true],
  ['2026-06-01T06:30:00-05:30', false],
  ['2026-06-01T06:30:01-05:30', true],
  ['2026-06-01t12:00:01z', true],
  ['2026-06-01 12:00:01Z', true],
  ['2026-06-01T11:59:60Z', false],
  ['2026-06-01T11:59:60.5Z', true],
  ['2020-04-17T17:22:05Z', false],
  ['2126-06-01T12:00:00Z', true],
  ['1969-12-31T23:59:59Z', false],
];

/** What would be issued at 12:00:00.000 UTC. */
const future: [entry: string, matches: boolean][] = [
  ['{ kind: group, group: g }', true],
  ['{ kind: group, group: g, notBefore: 2026-06-01T11:00:00Z }', false],
  ['{ kind: group, group: g, notBefore: 2026-06-01T12:00:00Z }', false],
  ['{ kind: group, group: g, notBefore: 2026-06-01T12:00:00.001Z }', true],
  ['{ kind: group, group: g, notBefore: 2026-07-01T00:00:00Z }', true],
  ['{ kind: dns, dns: .b }', true],
  ['{ kind: ip, ip: 10.0.0.1 }', true],
  // A new certificate has a serial of its own.
  ['{ kind: serialnumber, serialNumber: f00d }', false],
];

function matched(entry: string, certificate: Partial<MatchedCertificate>): boolean {
  const objects = new Objects();
  objects.put('x', entriesOf(entry));
  return objects.revocations.matchIssued(certificateOf(certificate)).length === 1;
}

describe('what an entry matches', () => {
  for (const [title, rows] of Object.entries(tables)) {
    describe(title, () => {
      for (const [entry, certificate, expected] of rows) {
        it(`${entry} ${expected ? 'matches' : 'does not match'} ${JSON.stringify(certificate)}`, () => {
          assert.equal(matched(entry, certificate), expected);
        });
      }
    });
  }

  describe('notBefore is compared with the recorded issue time', () => {
    for (const [notBefore, expected] of reach) {
      for (const kind of [group('g'), dns('.b'), ip('10.0.0.1'), serial('f00d')]) {
        const entry = notBefore === undefined ? kind : kind.replace(' }', `, notBefore: "${notBefore}" }`);
        it(`${entry} ${expected ? 'matches' : 'does not match'} what was issued at 12:00`, () => {
          assert.equal(matched(entry, { organizations: ['g'], dnsNames: ['a.b'], ipAddresses: ['10.0.0.1'] }), expected);
        });
      }
    }

    it('and never with the backdated notBefore of the certificate', () => {
      const backdated = { ...certificateOf({ organizations: ['g'] }), notBeforeMs: Date.parse('2026-06-01T11:59:00Z') };
      const objects = new Objects();
      objects.put('x', entriesOf('{ kind: group, group: g, notBefore: 2026-06-01T11:59:30Z }'));
      assert.deepEqual(objects.revocations.matchIssued(backdated), []);
    });
  });

  describe('what would be issued', () => {
    const nowMs = Date.parse('2026-06-01T12:00:00Z');
    const profile = { commonName: 'c', organizations: ['g'], dnsNames: ['a.b'], ipAddresses: ['10.0.0.1'] };
    for (const [entry, expected] of future) {
      it(`is ${expected ? '' : 'not '}matched by ${entry}`, () => {
        const objects = new Objects();
        objects.put('x', entriesOf(entry));
        assert.equal(objects.revocations.matchProfile('demo', profile, nowMs).length === 1, expected);
      });
    }
  });

  it('is a matter of its cluster alone', () => {
    const objects = new Objects();
    objects.put('x', entriesOf(group('g')));
    assert.equal(objects.revocations.matchIssued(certificateOf({ cluster: 'other', organizations: ['g'] })).length, 0);
    assert.equal(objects.revocations.matchIssued(certificateOf({ organizations: ['g'] })).length, 1);
  });
});
