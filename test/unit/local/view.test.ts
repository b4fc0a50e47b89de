import assert from 'node:assert/strict';
import {
  clip,
  colourOf,
  fit,
  LiveView,
  lifeBar,
  lifeBlock,
  PlainView,
  plainLine,
  renderTable,
  type Terminal,
  type ViewModel,
  widthOf,
  withColour,
  withoutColour,
} from '@evercert/local';
import { FakeClock } from '@evercert/shared/clock';
import fc from 'fast-check';
import { certificateView, kubernetesStatistics, nodeViews, startMs, viewModel } from '../../support/local-samples.ts';

describe('the bar of a certificate’s life', () => {
  const bar = (afterMs: number, width = 12): string => lifeBar(certificateView(), startMs + afterMs, width, withoutColour);

  it('grows from empty to full, with a mark where renewal is due', () => {
    assert.equal(bar(0), '░░░░░░░░│░░░');
    assert.equal(bar(30_000), '██████░░│░░░');
    assert.equal(bar(60_000), '████████│███');
  });

  it('stays within its width for times before the start and after the end', () => {
    assert.equal(bar(-5000), bar(0));
    assert.equal(bar(90_000), bar(60_000));
  });

  it('is empty without a certificate', () => {
    assert.equal(lifeBar(certificateView({ startMs: undefined, endMs: undefined }), startMs, 4, withoutColour), '░░░░');
  });

  it('is green while young, yellow once renewal is due, red near the end', () => {
    const colours = [0, 39_000, 40_000, 49_000, 50_000, 70_000].map((after) => colourOf(certificateView(), startMs + after));
    assert.deepEqual(colours, ['green', 'green', 'yellow', 'yellow', 'red', 'red']);
    assert.equal(colourOf(certificateView({ state: 'RenewalFailing' }), startMs), 'yellow');
    assert.equal(colourOf(certificateView({ state: 'Expired' }), startMs), 'red');
  });

  it('folds into one character that rises with age', () => {
    const blocks = [0, 20_000, 40_000, 60_000].map((after) => lifeBlock(certificateView(), startMs + after, withoutColour));
    assert.deepEqual(blocks, ['▁', '▃', '▆', '█']);
  });
});

describe('lines for a terminal', () => {
  it('are filled up or cut to a width', () => {
    assert.equal(fit('abc', 5), 'abc  ');
    assert.equal(fit('abcdef', 4), 'abc…');
  });

  it('are cut without counting or breaking colours', () => {
    const line = `${withColour('red', 'abc')}def`;
    assert.equal(widthOf(line), 6);
    assert.equal(clip(line, 4), `${withColour('red', 'abc')}d`);
  });
});

describe('the live table', () => {
  it('gives every certificate a line where there is room', () => {
    const lines = renderTable(viewModel(), { columns: 120, rows: 60, paint: withoutColour });
    assert.equal(lines.filter((line) => line.includes('30 s left')).length, 43);
    assert.match(lines[1] ?? '', /5\/5 nodes Ready, 43 certificates, 86 renewals, 0 failures, 0 lapses/);
    assert.match(lines[2] ?? '', /1200 writes, 0 failed/);
    assert.match(lines.at(-1) ?? '', /12:00:00 all 5 nodes are Ready/);
  });

  it('folds into 80 columns and 24 rows with every node and every certificate', () => {
    const lines = renderTable(viewModel(), { columns: 80, rows: 24, paint: withoutColour });
    assert.ok(lines.length <= 24);
    for (const { name, certificates } of nodeViews()) {
      const at = lines.findIndex((line) => line.startsWith(`${name} `));
      assert.notEqual(at, -1, name);
      const text = lines.slice(at).join('\n');
      assert.ok(certificates.length === 0 || /[█▁▂▃▄▅▆▇]/.test(text));
    }
  });

  it('says why a node is not Ready', () => {
    const [first, ...others] = nodeViews();
    assert.ok(first);
    const nodes = [{ ...first, phase: 'RenewalFailing', message: 'etcd-peer: Unavailable' }, ...others];
    const lines = renderTable(viewModel({ nodes }), { columns: 100, rows: 60, paint: withoutColour });
    assert.ok(lines.some((line) => /^cp-1 .*RenewalFailing.*etcd-peer: Unavailable/.test(line)));
  });

  it('shows that a worker is replaced and why, and does not take what ran out on its old machine for a lapse', () => {
    const [first, ...others] = nodeViews();
    assert.ok(first);
    const replaced = { ...first, name: 'worker-9', role: 'worker' as const, phase: 'Replacing', message: 'replacement rp-1 is under way' };
    const totals = { ...viewModel().totals, lapses: 2, lapsesOfRemoved: 2 };
    const paint = (colour: string, text: string): string => `<${colour}>${text}`;
    const lines = renderTable(viewModel({ nodes: [replaced, ...others], totals }), { columns: 160, rows: 80, paint });
    assert.ok(
      lines.some((line) => /worker-9.*<yellow>Replacing.*replacement rp-1 is under way$/.test(line)),
      lines.join('\n'),
    );
    assert.match(lines[1] ?? '', /^<green>.*2 lapses \(2 on removed machines\)/);
  });

  it('never leaves the screen, whatever its size', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 20, max: 200 }),
        fc.integer({ min: 5, max: 80 }),
        fc.integer({ min: 0, max: 90_000 }),
        (columns, rows, after) => {
          const lines = renderTable(viewModel({ nowMs: startMs + after }), { columns, rows, paint: withColour });
          assert.ok(lines.length <= rows);
          assert.ok(lines.every((line) => widthOf(line) <= columns));
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('showing a run', () => {
  it('redraws twice a second on the alternate screen and gives the terminal back, with the last picture', async () => {
    const clock = new FakeClock();
    const written: string[] = [];
    const terminal = { write: (text: string) => written.push(text) > 0, columns: 80, rows: 24, on: () => terminal, off: () => terminal };
    const view = new LiveView(terminal as unknown as Terminal, clock, () => viewModel(), false);
    await clock.advance(2000);
    assert.ok(written.length >= 5, `${written.length} writes`);
    assert.ok(written[0]?.includes('\x1b[?25l'));
    view.end();
    view.end();
    const all = written.join('');
    assert.equal(all.split('\x1b[?25h').length, 2, 'the cursor is shown once');
    assert.ok(all.slice(all.lastIndexOf('\x1b[?1049l')).includes('5/5 nodes Ready'));
    assert.equal(clock.pending, 0);
  });

  it('writes a plain line about every five seconds, and each notice', async () => {
    const clock = new FakeClock();
    const lines: string[] = [];
    const view = new PlainView(
      (line) => lines.push(line),
      clock,
      () => viewModel(),
    );
    await clock.advance(5000);
    view.notice({ timeMs: startMs, level: 'warn', message: 'cp-1 ended unexpectedly' });
    await clock.advance(5000);
    view.end();
    assert.deepEqual(lines, [plainLine(viewModel()), '[00:00:05] warning: cp-1 ended unexpectedly', plainLine(viewModel())]);
    assert.match(lines[0] ?? '', /^\[00:01:35\] 5\/5 nodes Ready.*etcd: 1200 writes, 0 failed/);
  });

  it('tells who leads, and who is away, where there are several coordinators', () => {
    const one = { name: 'coordinator-1', address: '127.0.0.1:1', serves: true, leads: false, nodes: 1 };
    const coordinators = [one, { ...one, name: 'coordinator-2', leads: true, nodes: 4 }, { ...one, name: 'coordinator-3', serves: false }];
    const text = 'coordinators: coordinator-1 (1 node), coordinator-2 leads (4 nodes), coordinator-3 is down';
    assert.ok(plainLine(viewModel({ coordinators })).endsWith(`; ${text}`));
    assert.ok(renderTable(viewModel({ coordinators }), { columns: 200, rows: 60, paint: withoutColour }).includes(`● ${text}`));
    assert.doesNotMatch(plainLine(viewModel()), /coordinators/);
  });

  it('tells how the API servers are, where there are any', () => {
    const line = (changes: Partial<ViewModel>): string => plainLine(viewModel(changes));
    assert.doesNotMatch(line({}), /kube-apiserver/);
    assert.match(line({ kubernetes: 'starting' }), /; kube-apiserver: starting$/);
    assert.match(line({ kubernetes: 'failed' }), /; kube-apiserver: did not come up$/);
    assert.match(line({ kubernetes: 'up', load: kubernetesStatistics }), /; kube-apiserver: 400 requests, 2 retried, 0 failed$/);
  });
});
