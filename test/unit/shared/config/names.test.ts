import assert from 'node:assert/strict';
import { addressInRange, canonicalAddress, dnsNameFault, nearest, parseHostPort, parseRange } from '@evercert/shared/config';

describe('addresses and names', () => {
  it('makes addresses canonical', () => {
    const cases: [string, string | undefined][] = [
      ['10.0.0.1', '10.0.0.1'],
      ['2001:DB8:0:0::1', '2001:db8::1'],
      ['::ffff:10.0.0.1', '10.0.0.1'],
      ['::1', '::1'],
      ['127.1', undefined],
      ['010.0.0.1', undefined],
      ['0x7f000001', undefined],
      ['1.2.3.4.5', undefined],
      ['fe80::1%eth0', undefined],
      ['', undefined],
      ['host', undefined],
    ];
    for (const [text, expected] of cases) assert.equal(canonicalAddress(text), expected, text);
  });

  it('knows DNS names as certificates hold them', () => {
    const good = ['a', 'kubernetes.default.svc', 'node-1.example.com', '*.example.com', 'EXAMPLE.com', 'a'.repeat(63), '1node'];
    const bad = [
      '',
      '-a',
      'a-',
      'a..b',
      'a.',
      '.a',
      'a_b',
      'a b',
      'a.*.b',
      'f*.b',
      '*',
      '10.0.0.1',
      '::1',
      'a'.repeat(64),
      `${'a'.repeat(60)}.`.repeat(5),
      'ä',
    ];
    for (const name of good) assert.equal(dnsNameFault(name, { wildcard: true }), undefined, name);
    for (const name of bad) assert.equal(typeof dnsNameFault(name, { wildcard: true }), 'string', name);
    assert.match(dnsNameFault('*.example.com') ?? '', /wildcard/);
  });

  it('splits host and port', () => {
    const cases: [string, ReturnType<typeof parseHostPort>][] = [
      ['api.example.com:6443', { host: 'api.example.com', port: 6443 }],
      ['API.example.com', { host: 'api.example.com' }],
      ['10.0.0.1:80', { host: '10.0.0.1', port: 80 }],
      ['[2001:DB8::1]:443', { host: '2001:db8::1', port: 443 }],
      ['::1', { host: '::1' }],
      ['[::1]', { host: '::1' }],
      ['[example.com]:1', undefined],
      ['host:99999', undefined],
      ['host:', undefined],
      [':80', undefined],
      ['1.2.3:80', undefined],
      ['a b:80', undefined],
      ['https://a:80', undefined],
    ];
    for (const [text, expected] of cases) assert.deepEqual(parseHostPort(text), expected, text);
  });

  it('reads ranges and says how one with host bits should be written', () => {
    assert.deepEqual(parseRange('10.96.0.0/12'), { range: '10.96.0.0/12' });
    assert.deepEqual(parseRange('FD00:0::/8'), { range: 'fd00::/8' });
    for (const text of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', '10/8', '/8', 'a/8', '10.0.0.0/8/8'])
      assert.ok('fault' in parseRange(text), text);
    assert.match(JSON.stringify(parseRange('10.96.0.1/12')), /10\.96\.0\.0\/12/);
  });

  it('counts addresses in a range, over byte borders', () => {
    assert.equal(addressInRange('10.96.0.0/12', 1), '10.96.0.1');
    assert.equal(addressInRange('10.96.0.0/12', 256), '10.96.1.0');
    assert.equal(addressInRange('fd00::/108', 1), 'fd00::1');
  });
});

describe('the nearest known word', () => {
  const known = ['listen', 'logging', 'store', 'ca'];
  it('finds what was meant', () => {
    for (const word of ['lisen', 'Listen', 'litsen', 'listten']) assert.equal(nearest(word, known), 'listen', word);
    assert.equal(nearest('ac', known), 'ca');
  });
  it('is silent when nothing is near', () => {
    for (const word of ['certificate', 'xyz', '', 'x'.repeat(10_000)]) assert.equal(nearest(word, known), undefined, word.slice(0, 20));
  });
});
