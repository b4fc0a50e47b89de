import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type AuditKey, auditProfile, kinds, LogWriter, newAuditKey, verifyTexts } from '../../../support/audit-log.ts';

describe('the verification of an audit log', () => {
  let key: AuditKey;
  let strange: AuditKey;
  /** Header, entries 1 to 4, checkpoint, 5 to 8, checkpoint. */
  let good: LogWriter;
  const check = (lines: readonly (string | undefined)[], keys = [key]) => verifyTexts([lines.join('')], keys);

  before(async () => {
    [key, strange] = await Promise.all([newAuditKey(), newAuditKey()]);
    good = await (await new LogWriter().header().entries(4).checkpoint(key)).entries(4).checkpoint(key);
  });

  it('finds nothing wrong with a log as it was written, in one file or in several that follow each other or overlap', async () => {
    const whole = await verifyTexts([good.text], [key]);
    assert.deepEqual(whole.faults, []);
    assert.deepEqual([whole.first, whole.last, whole.signed, whole.log], [1, 8, 8, good.log]);
    const start = await new LogWriter().header().entries(3).checkpoint(key);
    const rest = await start.branch().header().entries(5).checkpoint(key);
    const second = rest.lines.slice(start.lines.length).join('');
    assert.deepEqual((await verifyTexts([second, start.text], [key])).faults, []);
    assert.deepEqual((await verifyTexts([start.text, rest.text], [key])).faults, []);
    assert.deepEqual((await verifyTexts([rest.text], [key])).faults, [], 'a header within says what is so');
  });

  const tampering: [string, (lines: string[]) => string[], string, number][] = [
    ['a change', (l) => l.with(3, l[3]!.replace('"serial":"03"', '"serial":"99"')), 'broken', 3],
    ['a removal in the middle', (l) => l.toSpliced(3, 1), 'missing', 3],
    ['a removal of a checkpoint', (l) => l.toSpliced(5, 1), 'broken', 5],
    ['a removal at the beginning', (l) => l.toSpliced(1, 1), 'missing', 1],
    ['a removal of the header', (l) => l.slice(1), 'beginning', 1],
    ['two that changed places', (l) => l.with(6, l[7]!).with(7, l[6]!), 'order', 7],
    ['a line that stands twice', (l) => l.toSpliced(3, 0, l[2]!), 'order', 3],
    ['an insertion', (l) => l.toSpliced(3, 0, l[2]!.replace('"sequence":2', '"sequence":3')), 'broken', 3],
    ['a cut at the end', (l) => l.slice(0, -2), 'cut-off', 7],
    ['a cut within a line', (l) => l.with(-1, l.at(-1)!.slice(0, -20)), 'cut-off', 8],
    ['a line end that is missing', (l) => l.with(-1, l.at(-1)!.slice(0, -1)), 'cut-off', 8],
    ['another time in a checkpoint', (l) => l.with(5, l[5]!.replace('T12:00:04', 'T13:00:04')), 'checkpoint', 4],
    ['another way to write the same', (l) => l.with(3, l[3]!.replace('{"', '{ "')), 'unreadable', 3],
    ['an empty line', (l) => l.toSpliced(3, 0, '\n'), 'unreadable', 3],
    ['a line of something else', (l) => l.toSpliced(3, 0, '{"type":"note"}\n'), 'unreadable', 3],
  ];
  for (const [what, tamper, kind, sequence] of tampering) {
    it(`finds ${what}, and says where`, async () => {
      const { faults } = await check(tamper([...good.lines]));
      assert.ok(
        faults.some((fault) => fault.kind === kind && Math.abs(fault.sequence - sequence) <= 1),
        `${kind} at ${sequence}: ${JSON.stringify(faults)}`,
      );
    });
  }

  it('finds entries that were written anew with hashes that fit, by the checkpoint behind them', async () => {
    const forged = new LogWriter().header().entries(2).entry({ serial: '99' }).entry();
    const { faults } = await check([...forged.lines, ...good.lines.slice(5)]);
    assert.equal(faults[0]?.kind, 'checkpoint');
    assert.match(faults[0]?.message ?? '', /signs another state/);
  });

  it('finds checkpoints by a strange key, and by a certificate that is not for signing logs', async () => {
    const forged = await new LogWriter().header().entries(3).checkpoint(strange);
    assert.deepEqual(kinds(await verifyTexts([forged.text], [key])), ['cut-off', 'strange-key']);
    const node = await newAuditKey({ ...auditProfile, commonName: 'node', auditSigning: false, usages: ['client auth'] }, key.ca);
    const byNode = await new LogWriter().header().entries(3).checkpoint(node);
    assert.deepEqual(kinds(await verifyTexts([byNode.text], [key])), ['cut-off', 'strange-key']);
    const appended = await good.branch().entry().checkpoint(strange);
    assert.deepEqual(kinds(await verifyTexts([appended.text], [key])), ['cut-off', 'strange-key']);
  });

  it('takes a checkpoint by an earlier CA when a trusted one behind it covers it, in the same file or in the next', async () => {
    const rotated = await new LogWriter().header().entries(2).checkpoint(strange);
    const after = await rotated.branch().header().entries(2).checkpoint(key);
    assert.deepEqual((await verifyTexts([after.text], [key])).faults, []);
    const second = after.lines.slice(rotated.lines.length).join('');
    assert.deepEqual((await verifyTexts([rotated.text, second], [key])).faults, []);
  });

  it('finds a fork, and where it begins; a store that was restored from a backup is none', async () => {
    const begun = await new LogWriter().header().entries(4).checkpoint(key);
    const one = await begun.branch().entries(3).checkpoint(key);
    const other = await begun.branch().entry().entry({ serial: '77' }).entry().checkpoint(key);
    const { faults } = await verifyTexts([one.text, other.text], [key]);
    assert.deepEqual(
      faults.map(({ kind, sequence }) => [kind, sequence]),
      [['fork', 6]],
    );
    const restored = await begun.branch().entry().entry({ reason: 'StoreRestored' }).entry().checkpoint(key);
    const report = await verifyTexts([one.text, restored.text], [key]);
    assert.deepEqual(report.faults, []);
    assert.match(report.notes[0] ?? '', /differs .* from entry 6 on: the store was restored/);
    const unsigned = begun.branch().entry().entry({ reason: 'StoreRestored' });
    assert.deepEqual(
      kinds(await verifyTexts([one.text, unsigned.text], [key])),
      ['cut-off'],
      'a restore that nobody signed excuses nothing',
    );
  });

  it('finds what lies between two files and is in neither, and files of two logs', async () => {
    const begun = await new LogWriter().header().entries(2).checkpoint(key);
    const lost = begun.branch().entries(2);
    const later = await lost.branch().header().entries(2).checkpoint(key);
    const second = later.lines.slice(lost.lines.length).join('');
    const { faults } = await verifyTexts([begun.text, second], [key]);
    assert.deepEqual(
      faults.map(({ kind, sequence }) => [kind, sequence]),
      [['missing', 3]],
    );
    const another = await new LogWriter('f'.repeat(32)).header().entries(2).checkpoint(key);
    assert.deepEqual(kinds(await verifyTexts([begun.text, another.text], [key])), ['broken']);
  });

  it('holds the files to be the whole log unless they are said to be a part', async () => {
    const begun = await new LogWriter().header().entries(2).checkpoint(key);
    const later = await begun.branch().header().entries(2).checkpoint(key);
    const second = later.lines.slice(begun.lines.length).join('');
    assert.deepEqual(kinds(await verifyTexts([second], [key])), ['beginning']);
    assert.deepEqual(kinds(await verifyTexts([second], [key], true)), []);
  });

  it('finds any change of one byte, any line that is gone, stands twice or elsewhere, and any cut', async () => {
    const bytes = Buffer.from(good.text);
    const lines = good.lines;
    const place = fc.nat(bytes.length - 1);
    const line = fc.nat(lines.length - 1);
    const mutated = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.tuple(place, fc.integer({ min: 1, max: 255 })).map(([at, by]) => {
          const changed = Buffer.from(bytes);
          changed[at] = (changed[at]! + by) % 256;
          return changed;
        }),
      },
      place.map((at) => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)])),
      fc.tuple(place, fc.nat(255)).map(([at, byte]) => Buffer.concat([bytes.subarray(0, at), Buffer.of(byte), bytes.subarray(at)])),
      line.map((at) => Buffer.from(lines.toSpliced(at, 1).join(''))),
      line.map((at) => Buffer.from(lines.toSpliced(at, 0, lines[at]!).join(''))),
      fc
        .tuple(line, line)
        .filter(([a, b]) => a !== b)
        .map(([a, b]) => Buffer.from(lines.with(a, lines[b]!).with(b, lines[a]!).join(''))),
      fc.nat(bytes.length - 2).map((end) => bytes.subarray(0, end)),
      fc.integer({ min: 1, max: bytes.length }).map((begin) => bytes.subarray(begin)),
    );
    await fc.assert(
      fc.asyncProperty(mutated, async (changed) => {
        if (changed.equals(bytes)) return;
        const { faults, last } = await verifyTexts([changed], [key]);
        // A cut right behind a checkpoint is a log that was shorter: only who knows more of it can tell.
        const shorter = last === 4 && changed.equals(Buffer.from(lines.slice(0, 6).join('')));
        const nothing = changed.length === 0;
        assert.ok(faults.length > 0 || shorter || nothing, `not found in ${changed.length} bytes`);
      }),
      { numRuns: 400 },
    );
  });
});
