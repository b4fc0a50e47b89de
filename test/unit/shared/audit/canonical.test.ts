import assert from 'node:assert/strict';
import { canonicalJson, formatLine, parseLine } from '@evercert/shared/audit';
import fc from 'fast-check';

describe('the canonical JSON of audit logs', () => {
  it('sorts keys, has no white space and leaves out what is absent', () => {
    assert.equal(canonicalJson({ b: [1, true, 'x'], a: { d: '', c: undefined } }), '{"a":{"d":""},"b":[1,true,"x"]}');
  });

  it('is ASCII, says the same as JSON, and has one spelling', () => {
    const plain = fc.dictionary(fc.string({ unit: 'binary' }), fc.oneof(fc.string({ unit: 'binary' }), fc.integer(), fc.boolean()));
    fc.assert(
      fc.property(plain, (value) => {
        const text = canonicalJson(value);
        assert.match(text, /^[ -~]*$/);
        assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
        assert.equal(canonicalJson(JSON.parse(text)), text);
      }),
    );
  });

  it('is what a line is read from, whatever stands in an event', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (message) => {
        const event = { id: 'e', time: '2026-08-01T12:00:00.000Z', actor: 'a', reason: 'R', type: 'Normal', message };
        const line = { type: 'entry' as const, sequence: 1, revision: 2, event, hash: '0'.repeat(64) };
        assert.deepEqual(parseLine(formatLine(line).slice(0, -1)), line);
      }),
    );
  });
});
