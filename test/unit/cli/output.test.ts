import assert from 'node:assert/strict';
import {
  age,
  expiry,
  humanDuration,
  renderDescription,
  renderObject,
  renderTable,
  sortByPath,
  timestamp,
  twoUnits,
  unifiedDiff,
} from '@evercert/cli/output';
import fc from 'fast-check';
import { at, now } from './support.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

describe("the command line's output", () => {
  it('shows ages exactly as kubectl does', () => {
    const cases: [number, string][] = [
      [-2 * second, '<invalid>'],
      [-500, '0s'],
      [0, '0s'],
      [119 * second, '119s'],
      [2 * minute, '2m'],
      [2 * minute + 5 * second, '2m5s'],
      [10 * minute, '10m'],
      [179 * minute, '179m'],
      [3 * hour, '3h'],
      [3 * hour + 5 * minute, '3h5m'],
      [8 * hour, '8h'],
      [47 * hour, '47h'],
      [2 * day, '2d'],
      [2 * day + 3 * hour, '2d3h'],
      [8 * day, '8d'],
      [700 * day, '700d'],
      [2 * 365 * day, '2y'],
      [3 * 365 * day + 10 * day, '3y10d'],
      [9 * 365 * day, '9y'],
    ];
    for (const [ms, text] of cases) assert.equal(humanDuration(ms), text, `${ms} ms`);
  });

  it('says how long a certificate has left in its two largest units', () => {
    assert.equal(expiry(at(2 * 3600 + 11 * 60 + 59), now), 'in 2h11m');
    assert.equal(expiry(at(45), now), 'in 45s');
    assert.equal(expiry(at(-180), now), 'expired 3m ago');
    assert.equal(expiry(undefined, now), '<none>');
    assert.equal(age(undefined, now), '<unknown>');
    assert.equal(twoUnits(3 * day + 20 * hour + 59 * minute), '3d20h');
  });

  it('writes times in whole seconds of UTC', () => {
    assert.equal(timestamp(new Date('2026-06-01T12:00:00.999Z')), '2026-06-01T12:00:00Z');
    assert.equal(renderObject({ time: at(0), nothing: undefined }, 'json'), '{\n    "time": "2026-06-01T12:00:00Z"\n}\n');
    assert.equal(renderObject({ time: at(0) }, 'yaml'), 'time: 2026-06-01T12:00:00Z\n');
  });

  it('aligns columns and leaves no blanks at the end', () => {
    const rows = [
      ['cp-1', 'Ready', ''],
      ['a-long-name', 'NotReady', 'x'],
    ];
    assert.equal(
      renderTable(['NAME', 'STATUS', 'NOTE'], rows),
      'NAME          STATUS     NOTE\ncp-1          Ready\na-long-name   NotReady   x\n',
    );
    assert.equal(renderTable(['NAME'], [['a']], { noHeaders: true }), 'a\n');
  });

  it('lets no text from afar steer the terminal or break a line', () => {
    const text = fc.array(fc.nat({ max: 0x2030 }), { maxLength: 40 }).map((codes) => String.fromCharCode(...codes));
    fc.assert(
      fc.property(text, text, (a, b) => {
        const table = renderTable(['A', 'B'], [[a, b]]);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
        assert.doesNotMatch(table, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
        assert.equal(table.split('\n').length, 3);
      }),
    );
    assert.equal(renderTable(['A'], [['\u001b[31mred\n']]), 'A\n\\x1b[31mred\\n\n');
  });

  it('describes with one column of labels, several lines, tables and blocks', () => {
    const text = renderDescription([
      ['Name', 'cp-1'],
      ['Addresses', ['10.0.0.1', '10.0.0.2']],
      ['Labels', []],
      ['Certificates', { headers: ['NAME', 'STATE'], rows: [['apiserver', 'Ready']] }],
      ['Events', { headers: ['TYPE'], rows: [] }],
      ['Manifest', { text: 'a: 1\nb: 2\n' }],
    ]);
    assert.equal(
      text,
      'Name:       cp-1\nAddresses:  10.0.0.1\n            10.0.0.2\nLabels:     <none>\n' +
        'Certificates:\n  NAME        STATE\n  apiserver   Ready\nEvents:  <none>\nManifest:\n  a: 1\n  b: 2\n',
    );
  });

  it('sorts by a field of the objects, numbers and times as such, what lacks it last', () => {
    const items = [{ a: 10 }, { a: 9 }, {}, { a: 100 }];
    assert.deepEqual(
      sortByPath(items, (item) => item, ['a']),
      [{ a: 9 }, { a: 10 }, { a: 100 }, {}],
    );
    const times = [{ t: at(5) }, { t: at(-5) }];
    assert.deepEqual(
      sortByPath(times, (item) => item, ['t']),
      [{ t: at(-5) }, { t: at(5) }],
    );
    assert.throws(() => sortByPath(items, (item) => item, ['b']), { code: 'InvalidArgument' });
  });

  it('makes a unified diff that names the object, and nothing where nothing differs', () => {
    const object = { kind: 'CertificateManifest', name: 'apiserver' };
    assert.equal(unifiedDiff({ ...object, before: 'a: 1\n', after: 'a: 1\n' }), '');
    assert.equal(
      unifiedDiff({ ...object, before: 'a: 1\nb: 2\n', after: 'a: 1\nb: 3\n' }),
      'diff -u live/certificatemanifest/apiserver merged/certificatemanifest/apiserver\n' +
        '--- live/certificatemanifest/apiserver\n+++ merged/certificatemanifest/apiserver\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n',
    );
  });
});
