import assert from 'node:assert/strict';
import { type RepairResponse, Role } from '@evercert/proto';
import { at, fakeApi, run } from './support.ts';

const plan = (nodes: { node: string; action: string; findings: string[]; reason?: string }[], strategy = 'serial'): RepairResponse => ({
  event: { $case: 'plan', value: { nodes: nodes.map((each) => ({ role: Role.CONTROL_PLANE, reason: '', ...each })), strategy } },
});
const progress = (node: string, step: string, message: string, certificate = ''): RepairResponse => ({
  event: { $case: 'progress', value: { time: at(1), node, certificate, step, message } },
});
const summary = (...outcomes: [string, string, string[], string][]): RepairResponse => ({
  event: {
    $case: 'summary',
    value: { outcomes: outcomes.map(([node, result, certificates, message]) => ({ node, result, certificates, message })) },
  },
});

describe('evercert repair', () => {
  it('shows the plan, each step and what came of it, and ends with 0 when all is well', async () => {
    const api = fakeApi(
      {},
      [],
      [
        plan([
          { node: 'cp-1', action: 'skip', findings: [], reason: 'the certificates are in order' },
          { node: 'cp-2', action: 'repair', findings: ['apiserver expired at 2026-06-01T11:00:00.000Z'] },
        ]),
        progress('cp-2', 'WindowOpened', 'open'),
        progress('cp-2', 'CertificateIssued', 'serial 0a is in place', 'apiserver'),
        summary(['cp-1', 'Healthy', [], 'the certificates are in order'], ['cp-2', 'Repaired', ['apiserver'], '1 fresh certificates']),
      ],
    );
    const { exitCode, out } = await run(['repair', 'demo', '--node', 'cp-1', '--node', 'cp-2', '--window', '30m'], { api });
    assert.equal(exitCode, 0);
    assert.deepEqual(api.calls[0], {
      method: 'repair',
      request: { cluster: 'demo', nodes: ['cp-1', 'cp-2'], dryRun: false, window: { seconds: 1800, nanos: 0 } },
    });
    assert.match(out, /cp-2 +repair +1 +apiserver expired/);
    assert.match(out, /one node at a time/);
    assert.match(out, /12:00:01 {2}cp-2\/apiserver {2}CertificateIssued: serial 0a is in place/);
    assert.match(out, /cp-2 +Repaired +apiserver +1 fresh/);
  });

  for (const result of ['Silent', 'Refused', 'Failed']) {
    it(`ends with 1 when a node is ${result}`, async () => {
      const api = fakeApi(
        {},
        [],
        [plan([{ node: 'cp-1', action: 'repair', findings: ['x'] }], 'parallel'), summary(['cp-1', result, [], 'why'])],
      );
      const { exitCode, out } = await run(['repair'], { api });
      assert.equal(exitCode, 1);
      assert.match(out, /all nodes at once/);
    });
  }

  it('ends with 1 after a dry run that found something, with 0 after one that did not', async () => {
    const found = fakeApi({}, [], [plan([{ node: 'cp-1', action: 'repair', findings: ['a', 'b', 'c', 'd'] }])]);
    const shown = await run(['repair', 'demo', '--dry-run'], { api: found });
    assert.equal(shown.exitCode, 1);
    assert.match(shown.out, /cp-1:\n {2}a\n {2}b\n {2}c\n {2}d\n/);
    const well = fakeApi({}, [], [plan([{ node: 'cp-1', action: 'skip', findings: [], reason: 'in order' }])]);
    assert.equal((await run(['repair', 'demo', '--dry-run'], { api: well })).exitCode, 0);
  });

  it('gives one JSON object per line', async () => {
    const nodes = [{ node: 'cp-1', role: Role.CONTROL_PLANE, action: 'repair', findings: ['x'] }];
    const api = fakeApi({}, [], [plan(nodes), progress('cp-1', 'Repaired', 'done'), summary(['cp-1', 'Repaired', [], 'done'])]);
    const { out } = await run(['repair', 'demo', '-o', 'json'], { api });
    assert.match(out, /"role":"control-plane"/);
    assert.deepEqual(
      out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).type),
      ['plan', 'progress', 'summary'],
    );
  });

  it('does not take an end without an outcome for success', async () => {
    const api = fakeApi({}, [], [plan([{ node: 'cp-1', action: 'repair', findings: ['x'] }])]);
    const { exitCode, err } = await run(['repair', 'demo'], { api });
    assert.equal(exitCode, 7);
    assert.match(err, /run it again/);
  });

  it('shows no control characters of a node', async () => {
    const api = fakeApi(
      {},
      [],
      [plan([{ node: 'cp-1', action: 'repair', findings: ['a\x1b[31mred'] }]), summary(['cp-1', 'Repaired', [], 'ok'])],
    );
    assert.ok(!(await run(['repair', 'demo'], { api })).out.includes('\x1b'));
  });
});
