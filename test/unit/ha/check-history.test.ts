/** The judge of histories has to be able to find fault: each wrong history is a right one with one thing changed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { checkHistory } from '../../ha/history/check.ts';
import { readLog } from '../../ha/history/read.ts';
import type { Action, Entry, FaultKind, History, Machine, Seen } from '../../ha/history/types.ts';

const minuteMs = 60_000;

/** `w-1`, whose certificate is renewed twice; `w-2`, which is switched off after a renewal, removed and made again. */
function rightHistory(): History {
  let serial = 0;
  const entries: Entry[] = [];
  const log = (reason: string, timeMs: number, more: Partial<Entry> = {}): void => {
    const empty = { node: '', certificate: '', serial: '', publicKey: '', message: '' };
    entries.push({ sequence: entries.length + 1, linked: true, reason, timeMs, ...empty, ...more });
  };
  const machine = (id: string, beginMs: number, count: number, gone = false): Machine => {
    const node = id.replace(/\.\d+$/, '');
    const seen = Array.from({ length: count }, (_, index): Seen => {
      serial += 1;
      const firstMs = beginMs + index * 40_000;
      const version = { serial: `aa${serial}`, publicKey: `key-${serial}`, notAfterMs: firstMs + minuteMs };
      log('CertificateIssued', firstMs - 500, {
        node,
        certificate: 'kubelet-client',
        serial: version.serial,
        publicKey: version.publicKey,
      });
      return { machine: id, node, file: 'kubelet-client', ...version, firstMs, lastMs: firstMs + 39_000 };
    });
    return { id, node, seen, endMs: beginMs + count * 40_000, gone, lapses: 0, damage: [] };
  };
  const machines = [machine('w-1.1', 0, 3), machine('w-2.1', 0, 2, true)];
  const key = (step: string): string => `rp-1-${step}-1`;
  for (const step of ['Cordon', 'Remove', 'Create'])
    log('ReplacementStepDone', 200_000, { node: 'w-2', message: `replacement rp-1: ${step} is done (${key(step)})` });
  machines.push(machine('w-2.2', 210_000, 2));
  log('ReplacementSucceeded', 250_000, { node: 'w-2' });
  const action = (kind: Action['kind'], what: Action['action']): Action => {
    return { kind, key: key(what === 'remove' ? 'Remove' : 'Create'), action: what, node: 'w-2', atMs: 200_000 };
  };
  const issued = entries.filter(({ reason }) => reason === 'CertificateIssued');
  return {
    machines,
    entries,
    stored: issued.map((entry) => ({ ...entry, key: `/evercert/v1/certificates/demo/${entry.serial}` })),
    // Asked twice, done once: the first answer was lost.
    actions: [
      action('call', 'remove'),
      action('effect', 'remove'),
      action('call', 'remove'),
      action('call', 'create'),
      action('effect', 'create'),
    ],
  };
}

describe('the judge of histories', () => {
  it('finds nothing wrong with a right one, and counts what happened in it', () => {
    const { faults, ...counts } = checkHistory(rightHistory());
    assert.deepEqual(faults, []);
    assert.deepEqual(counts, {
      machines: 3,
      certificates: 7,
      renewals: 4,
      issued: 7,
      underWay: 0,
      replacements: 1,
      actions: 2,
      entries: 11,
    });
  });

  const wrong: [string, FaultKind, (history: History) => void][] = [
    [
      'a certificate that was in its place past its end',
      'Lapsed',
      ({ machines }) => void Object.assign(machines[0]!.seen[0]!, { lastMs: 10 * minuteMs }),
    ],
    [
      'a certificate that had ended before the next came',
      'Lapsed',
      ({ machines }) => void Object.assign(machines[0]!.seen[0]!, { notAfterMs: machines[0]!.seen[1]!.firstMs - 10_000 }),
    ],
    ['a lapse that the agent counted', 'Lapsed', ({ machines }) => void Object.assign(machines[0]!, { lapses: 1 })],
    [
      'one serial number for two certificates of the log',
      'SerialTwice',
      ({ entries }) => void Object.assign(entries[1]!, { serial: entries[0]!.serial }),
    ],
    [
      'one serial number for two keys on machines',
      'SerialTwice',
      ({ machines }) => void Object.assign(machines[1]!.seen[0]!, { serial: machines[0]!.seen[0]!.serial }),
    ],
    [
      'two certificates for one key in the log',
      'RenewalTwice',
      ({ entries }) => void Object.assign(entries[1]!, { publicKey: entries[0]!.publicKey }),
    ],
    [
      'two certificates for one key in the store',
      'RenewalTwice',
      ({ stored }) => void Object.assign(stored[1]!, { publicKey: stored[0]!.publicKey }),
    ],
    [
      'a renewal that is in the log twice',
      'RenewalTwice',
      ({ entries }) => void entries.push({ ...entries[0]!, sequence: entries.length + 1 }),
    ],
    ['a step with two effects', 'StepTwice', ({ actions }) => void actions.push(actions[4]!)],
    [
      'a machine that was made twice, by two keys',
      'StepTwice',
      ({ actions }) => void actions.push({ ...actions[3]!, key: 'other' }, { ...actions[4]!, key: 'other' }),
    ],
    [
      'a machine that was removed while its certificates were good',
      'NeedlessRemoval',
      ({ actions }) => {
        for (const action of actions) action.atMs = 90_000;
      },
    ],
    ['a removal that was left out', 'StepTwice', ({ actions }) => void actions.splice(1, 1)],
    ['an effect that nobody had asked for', 'StepTwice', ({ actions }) => void actions.splice(3, 1)],
    [
      'a step that the log tells twice',
      'StepTwice',
      ({ entries }) => {
        const step = entries.find(({ reason }) => reason === 'ReplacementStepDone')!;
        entries.push({ ...step, sequence: entries.length + 1 });
      },
    ],
    ['a certificate that the log does not know', 'NotInLog', ({ entries }) => void Object.assign(entries[0]!, { serial: 'ff' })],
    ['a certificate that the log has for another node', 'NotInLog', ({ entries }) => void Object.assign(entries[0]!, { node: 'w-9' })],
    ['a certificate that the log has with another key', 'NotInLog', ({ entries }) => void Object.assign(entries[0]!, { publicKey: 'ff' })],
    ['a certificate that is on no machine', 'NotInFolder', ({ machines }) => void machines[0]!.seen.splice(0, 1)],
    ['a certificate that is not in the store', 'NotInStore', ({ stored }) => void stored.splice(2, 1)],
    [
      'a certificate that is in the store alone',
      'NotInLog',
      ({ stored }) => void stored.push({ ...stored[0]!, key: 'k', serial: 'ee', publicKey: 'x' }),
    ],
    ['a key that does not belong to its certificate', 'Damaged', ({ machines }) => void machines[0]!.damage.push('kubelet-client')],
    ['an entry that was changed', 'LogBroken', ({ entries }) => void Object.assign(entries[3]!, { linked: false })],
    ['an entry that was left out', 'LogBroken', ({ entries }) => void entries.splice(9, 1)],
    ['machines on which nothing was seen', 'Empty', ({ machines }) => void machines.splice(0)],
    ['a run without a renewal', 'Empty', ({ machines }) => machines.forEach(({ seen }) => void seen.splice(1))],
    ['an empty log', 'Empty', ({ entries }) => void entries.splice(0)],
  ];

  for (const [what, kind, change] of wrong) {
    it(`finds ${what}`, () => {
      const history = rightHistory();
      change(history);
      const { faults } = checkHistory(history);
      assert.ok(
        faults.some((fault) => fault.kind === kind),
        JSON.stringify(faults),
      );
    });
  }

  it('lets a machine that was stopped have lost the answer that it waited for then, and no other', () => {
    const history = rightHistory();
    const off = history.machines[1]!;
    off.seen.splice(1, 1);
    off.endMs = 41_000;
    const { faults, underWay } = checkHistory(history);
    assert.deepEqual([faults, underWay], [[], 1]);
    off.endMs = 140_000;
    assert.equal(checkHistory(history).faults[0]?.kind, 'NotInFolder');
  });

  it('takes many lost answers for what they are', () => {
    const history = rightHistory();
    const wideMs = 25_000;
    const nodes = Array.from({ length: 5 }, (_, index) => `lost-${index}`);
    for (const node of nodes) {
      history.machines.push({ id: `${node}.1`, node, seen: [], endMs: 300_000, gone: false, lapses: 0, damage: [] });
      const entry = {
        ...history.entries[0]!,
        sequence: history.entries.length + 1,
        node,
        serial: node,
        publicKey: node,
        timeMs: 300_000 - wideMs,
      };
      history.entries.push(entry);
      history.stored.push({ ...history.stored[0]!, key: node, serial: node, publicKey: node });
    }
    const { faults } = checkHistory(history);
    assert.deepEqual(
      faults.map(({ kind }) => kind),
      ['NotInFolder'],
    );
    assert.match(faults[0]?.text ?? '', /5 certificates were under way/);
  });

  it('follows the hash chain of the log by itself', () => {
    const sha256 = (...parts: (string | Buffer)[]): string =>
      createHash('sha256')
        .update(Buffer.concat(parts.map((part) => Buffer.from(part as string))))
        .digest('hex');
    const genesis = sha256('evercert audit log v1\nlog-1');
    const event = { actor: 'coordinator', id: '1', reason: 'A', time: '2026-01-01T00:00:00.000Z', type: 'Normal' };
    const body = (sequence: number): string => JSON.stringify({ event, revision: 1, sequence, type: 'entry' });
    const first = sha256(Buffer.from(genesis, 'hex'), body(1));
    const second = sha256(Buffer.from(first, 'hex'), body(2));
    const line = (sequence: number, hash: string): object => ({ ...(JSON.parse(body(sequence)) as object), hash });
    const header = { type: 'header', v: 1, log: 'log-1', sequence: 1, previous: genesis };
    assert.deepEqual(
      readLog([header, line(1, first), line(2, second)]).map(({ linked }) => linked),
      [true, true],
    );
    assert.deepEqual(
      readLog([header, line(1, first), line(2, first)]).map(({ linked }) => linked),
      [true, false],
    );
    assert.deepEqual(
      readLog([{ ...header, log: 'log-2' }, line(1, first)]).map(({ linked }) => linked),
      [false],
    );
  });
});
