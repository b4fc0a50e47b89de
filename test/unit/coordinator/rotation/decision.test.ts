import assert from 'node:assert/strict';
import {
  beginsByItself,
  decide,
  endingOf,
  isWorse,
  type LeafFacts,
  leafVerdict,
  nextWave,
  type RotationNodeFacts,
  type RotationQuestion,
  trustVerdict,
} from '@evercert/coordinator/rotation';

const nowMs = Date.parse('2026-06-01T00:00:00Z');
const hourMs = 3600_000;
const dayMs = 24 * hourMs;
const moment = { nowMs, behindAfterMs: 120_000 };

function leaf(change: Partial<LeafFacts> = {}): LeafFacts {
  const serial = change.serial ?? 'c1';
  return {
    name: 'apiserver',
    serial,
    issuerSerial: 'old',
    notAfterMs: nowMs + hourMs,
    issuedAtMs: nowMs - hourMs,
    renewable: true,
    asked: false,
    revoked: false,
    looked: false,
    reported: { serial, same: true, error: '', served: '' },
    taken: false,
    ...change,
  };
}

function node(change: Partial<RotationNodeFacts> = {}): RotationNodeFacts {
  return {
    cluster: 'demo',
    name: 'w-1',
    role: 'worker',
    away: undefined,
    applied: true,
    bundles: [],
    leaves: [leaf()],
    pins: undefined,
    sinceMs: nowMs,
    ...change,
  };
}

function question(
  change: Omit<Partial<RotationQuestion>, 'record'> & { record?: Partial<RotationQuestion['record']> } = {},
): RotationQuestion {
  const { record, ...rest } = change;
  return {
    record: {
      id: 'ro-1',
      cluster: 'demo',
      authority: 'cluster-ca',
      stage: 'Reissuing',
      stageSinceMs: nowMs,
      startedAtMs: nowMs,
      by: 'admin/ann',
      reason: 'requested',
      note: '',
      keyAlgorithm: 'ecdsa-p384',
      oldSerial: 'old',
      newSerial: 'new',
      bundleVersion: 2,
      ...record,
    },
    target: 'new',
    nodes: [node()],
    foreign: [],
    published: undefined,
    inTurns: true,
    maxConcurrent: 2,
    behindAfterMs: 120_000,
    settleMs: 0,
    throughForMs: 0,
    nowMs,
    ...rest,
  };
}

describe('how far a node has come', () => {
  const bundle = { name: 'ca', path: '/pki/ca.crt', looked: false, reloads: false };
  const inPlace = { version: 2, state: 'Ready', error: '', served: '', servedMessage: '', reloadOwed: false };
  const trusts: [string, Partial<RotationNodeFacts>, string, RegExp][] = [
    ['its bundle is in place', { bundles: [{ ...bundle, reported: inPlace }] }, 'Done', /^$/],
    ['a newer one is in place', { bundles: [{ ...bundle, reported: { ...inPlace, version: 3 } }] }, 'Done', /^$/],
    [
      'it said nothing of it',
      { bundles: [{ ...bundle, reported: undefined }] },
      'Waiting',
      /nothing is heard of trust bundle ca \(\/pki\/ca.crt\)/,
    ],
    ['its bundle is of before', { bundles: [{ ...bundle, reported: { ...inPlace, version: 1 } }] }, 'Waiting', /is of version 1, not 2/],
    ['it cannot write it', { bundles: [{ ...bundle, reported: { ...inPlace, error: 'the disk is full' } }] }, 'Behind', /the disk is full/],
    [
      'its component is not told yet',
      { bundles: [{ ...bundle, reported: { ...inPlace, reloadOwed: true } }] },
      'Waiting',
      /still to be told/,
    ],
    [
      'an agent of an earlier release does not say whether it is told',
      { bundles: [{ ...bundle, reloads: true, reported: { ...inPlace, reloadOwed: undefined } }] },
      'Done',
      /^$/,
    ],
    [
      'its component was not looked at yet',
      { bundles: [{ ...bundle, looked: true, reported: inPlace }] },
      'Waiting',
      /has not been seen yet/,
    ],
    [
      'its component accepts others',
      { bundles: [{ ...bundle, looked: true, reported: { ...inPlace, served: 'NotServed', servedMessage: 'it names CN=old' } }] },
      'Behind',
      /it names CN=old/,
    ],
    ['it has no bundle, and has put into effect what it was sent', {}, 'Done', /^$/],
    ['it has no bundle, and has not', { applied: false }, 'Waiting', /not put the new desired state into effect/],
    ['its agent trusts both control CAs', { pins: { wanted: ['a', 'b'], trusted: ['b', 'a'] } }, 'Done', /^$/],
    [
      'its agent does not trust the new one',
      { pins: { wanted: ['a', 'b'], trusted: ['a'] } },
      'Waiting',
      /does not trust the control CA b yet/,
    ],
    ['its agent still trusts the old one', { pins: { wanted: ['b'], trusted: ['a', 'b'] } }, 'Waiting', /still trusts the control CA a/],
    ['an agent of an earlier release does not say what it trusts', { pins: { wanted: ['b'], trusted: undefined } }, 'Done', /^$/],
    [
      'it is away',
      { away: 'it has not been heard since yesterday', bundles: [{ ...bundle, reported: undefined }] },
      'Away',
      /since yesterday/,
    ],
  ];
  for (const [what, facts, state, reason] of trusts) {
    it(`in trust: ${what}`, () => {
      const verdict = trustVerdict(node(facts), 2, 'new', moment);
      assert.equal(verdict.state, state);
      assert.match(verdict.reason, reason);
    });
  }

  const reported = { serial: 'c1', same: true, error: '', served: '' };
  const leaves: [string, Partial<LeafFacts>, string, boolean, RegExp][] = [
    ['its turn has not come', {}, 'Waiting', true, /waits for its turn/],
    ['it is asked for', { asked: true }, 'Waiting', true, /is being renewed$/],
    [
      'its renewal fails',
      { asked: true, reported: { ...reported, error: 'the disk is full' } },
      'Behind',
      true,
      /is being renewed: the disk is full/,
    ],
    ['the new one is in place', { issuerSerial: 'new' }, 'Done', false, /^$/],
    [
      'the new one is not in place',
      { issuerSerial: 'new', reported: { ...reported, serial: 'c0', same: false } },
      'Waiting',
      true,
      /still has serial c0 in place/,
    ],
    ['nothing is in place', { issuerSerial: 'new', reported: undefined }, 'Waiting', false, /is not in place/],
    [
      'another one is served',
      { issuerSerial: 'new', looked: true, reported: { ...reported, served: 'NotServed' } },
      'Behind',
      false,
      /serves another certificate/,
    ],
    ['nobody has looked yet', { issuerSerial: 'new', looked: true }, 'Waiting', false, /has not been seen yet/],
    [
      'one by the new CA was in place, and the next is on its way',
      { issuerSerial: 'new', taken: true, reported: { ...reported, same: false } },
      'Done',
      false,
      /^$/,
    ],
    ['it has ended', { notAfterMs: nowMs }, 'Done', false, /^$/],
    ['it is revoked', { revoked: true }, 'Done', false, /^$/],
    ['nobody here renews it', { renewable: false }, 'Waiting', true, /renewed by nobody here; it ends 2026-06-01T01:00:00/],
  ];
  for (const [what, change, state, cutOff, reason] of leaves) {
    it(`in certificates: ${what}`, () => {
      const verdict = leafVerdict(node({ leaves: [leaf(change)] }), 'new', moment);
      assert.deepEqual([verdict.state, verdict.cutOff], [state, cutOff]);
      assert.match(verdict.reason, reason);
    });
  }

  it('is behind after longer than usual, and tells the worst first, and not too much', () => {
    const facts = node({
      sinceMs: nowMs - 121_000,
      leaves: ['a', 'b', 'c', 'd'].map((name) =>
        leaf({ name, asked: true, ...(name === 'd' && { reported: { ...reported, error: 'x' } }) }),
      ),
    });
    const { state, reason, certificatesLeft } = leafVerdict(facts, 'new', moment);
    assert.deepEqual([state, certificatesLeft], ['Behind', 4]);
    assert.equal(reason, 'd is being renewed: x; a is being renewed; b is being renewed and 1 more');
  });
});

describe('the decision on a rotation', () => {
  const renewed = node({ leaves: [leaf({ issuerSerial: 'new' })] });

  it('is to retire once nothing comes from the old key', () => {
    const { ready, ask, waitingFor } = decide(question({ nodes: [renewed] }));
    assert.deepEqual([ready, ask, waitingFor], [true, [], '']);
  });

  it('waits for certificates that nobody renews, unless there is a deadline that has passed, or the CA is compromised', () => {
    const foreign = [{ cluster: 'demo', name: 'jane.csr', issuerSerial: 'old', notAfterMs: nowMs + hourMs, revoked: false }];
    assert.match(decide(question({ nodes: [renewed], foreign })).waitingFor, /jane.csr; the last ends 2026-06-01T01:00:00/);
    assert.equal(decide(question({ nodes: [renewed], foreign, record: { deadlineMs: nowMs + 1 } })).ready, false);
    assert.equal(decide(question({ nodes: [renewed], foreign, record: { deadlineMs: nowMs } })).ready, true);
    assert.equal(decide(question({ nodes: [renewed], foreign, record: { reason: 'compromise' } })).ready, true);
    assert.equal(decide(question({ nodes: [renewed], foreign: [{ ...foreign[0]!, revoked: true }] })).ready, true);
  });

  it('never gives a node up that is heard, but where the CA is compromised and the deadline has passed', () => {
    assert.equal(decide(question({ record: { deadlineMs: nowMs - 1 } })).ready, false);
    assert.equal(decide(question({ record: { deadlineMs: nowMs + 1, reason: 'compromise' } })).ready, false);
    assert.equal(decide(question({ record: { deadlineMs: nowMs, reason: 'compromise' } })).ready, true);
  });

  it('gives components time that take certificates up by themselves', () => {
    const waits = decide(question({ nodes: [renewed], settleMs: 90_000, throughForMs: 10_000 }));
    assert.deepEqual(
      [waits.ready, waits.through, waits.waitingFor],
      [false, true, 'components that read their files again by themselves: 80 s more'],
    );
    assert.equal(decide(question({ nodes: [renewed], settleMs: 90_000, throughForMs: 90_000 })).ready, true);
    const looked = node({
      leaves: [leaf({ issuerSerial: 'new', looked: true, reported: { serial: 'c1', same: true, error: '', served: 'Served' } })],
    });
    assert.equal(decide(question({ nodes: [looked], settleMs: 90_000 })).ready, true);
  });

  it('waits for what is published elsewhere', () => {
    const published = { current: false, message: 'cluster-info is of before' };
    const at = { record: { stage: 'Spreading' as const }, nodes: [] };
    assert.deepEqual(decide(question({ ...at, published })).waitingFor, 'cluster-info is of before');
    assert.equal(decide(question({ ...at, published: { current: true, message: '' } })).ready, true);
  });

  it('asks nothing and goes nowhere while it is paused, awaits its certificate, or has ended', () => {
    const paused = decide(question({ record: { pausedAtMs: nowMs, pausedBy: 'admin/ann' } }));
    assert.deepEqual([paused.ready, paused.ask], [false, []]);
    const awaits = decide(question({ record: { stage: 'AwaitingCertificate' } }));
    assert.equal(awaits.ready, false);
    assert.match(awaits.waitingFor, /evercert ca install demo --ca cluster-ca --certificate/);
    for (const stage of ['Completed', 'Aborted'] as const) assert.equal(decide(question({ record: { stage } })).ready, false);
  });
});

describe('the waves of a rotation', () => {
  const wave = (asked: RotationQuestion): string[] => nextWave(asked, decide(asked).nodes).map((order) => order.node);
  const many = (...names: [string, Partial<RotationNodeFacts>?][]): RotationNodeFacts[] =>
    names.map(([name, change]) => node({ name, role: name.startsWith('cp') ? 'control-plane' : 'worker', ...change }));

  it('ask the first of each lane, control-plane nodes in turns', () => {
    assert.deepEqual(wave(question({ nodes: many(['cp-1'], ['cp-2'], ['w-1'], ['w-2'], ['w-3']) })), ['cp-1', 'w-1', 'w-2']);
    assert.deepEqual(wave(question({ nodes: many(['cp-1'], ['cp-2'], ['w-1']), inTurns: false })), ['cp-1', 'cp-2']);
  });

  it('keep the places of those that were asked and are not through, however long', () => {
    const asked = { leaves: [leaf({ asked: true })], sinceMs: 0 };
    assert.deepEqual(wave(question({ nodes: many(['cp-1', asked], ['cp-2'], ['w-1', asked], ['w-2'], ['w-3']) })), ['w-2']);
    const notInPlace = { leaves: [leaf({ issuerSerial: 'new', reported: undefined })] };
    assert.deepEqual(wave(question({ nodes: many(['w-1', notInPlace], ['w-2', asked], ['w-3']) })), []);
  });

  it('leave out who is away, and give his place to others', () => {
    const away = { away: 'switched off', leaves: [leaf({ asked: true })] };
    assert.deepEqual(wave(question({ nodes: many(['cp-1', away], ['cp-2'], ['w-1', away], ['w-2'], ['w-3']) })), ['cp-2', 'w-2', 'w-3']);
  });

  it('ask a node that was asked for a part for the rest before they ask another', () => {
    const part = { leaves: [leaf({ name: 'a', asked: true }), leaf({ name: 'b' })] };
    const asked = question({ nodes: many(['w-1'], ['w-2'], ['w-3', part]), maxConcurrent: 1 });
    assert.deepEqual(nextWave(asked, decide(asked).nodes), [
      { cluster: 'demo', node: 'w-3', marks: { a: nowMs - hourMs + 1, b: nowMs - hourMs + 1 } },
    ]);
  });

  it('go through a cluster of five thousand nodes in a moment', () => {
    const nodes = Array.from({ length: 5000 }, (_, i) => node({ name: `w-${i}` }));
    const began = performance.now();
    assert.equal(wave(question({ nodes, maxConcurrent: 50 })).length, 50);
    assert.ok(performance.now() - began < 500);
  });
});

describe('the end of a CA', () => {
  it('is told a year and half a year before it, and when it has come', () => {
    const at = (leftMs: number) => endingOf({ notAfterMs: nowMs + leftMs }, nowMs);
    assert.deepEqual([at(366 * dayMs), at(365 * dayMs), at(182 * dayMs), at(0)], [undefined, 'WithinYear', 'WithinHalfYear', 'Ended']);
    assert.deepEqual(
      [isWorse('WithinYear', undefined), isWorse('WithinYear', 'WithinYear'), isWorse('Ended', 'WithinHalfYear')],
      [true, false, true],
    );
  });

  it('begins a rotation by itself where the policy says so, and nothing speaks against it', () => {
    const authority = { keyId: 'k', notAfterMs: nowMs + 100 * dayMs } as Parameters<typeof beginsByItself>[0]['authority'];
    const asked = { authority, policy: { automatic: true, beforeSeconds: 365 * 86_400 }, history: [], busy: false, nowMs };
    assert.equal(beginsByItself(asked), true);
    assert.equal(beginsByItself({ ...asked, policy: { ...asked.policy, automatic: false } }), false);
    assert.equal(beginsByItself({ ...asked, policy: { ...asked.policy, beforeSeconds: 86_400 } }), false);
    assert.equal(beginsByItself({ ...asked, busy: true }), false);
    assert.equal(beginsByItself({ ...asked, authority: { ...authority, keyId: '' } }), false);
    assert.equal(beginsByItself({ ...asked, authority: { ...authority, root: 'der' } }), false);
    const aborted = { ...question().record, stage: 'Aborted' as const };
    assert.equal(beginsByItself({ ...asked, history: [{ ...aborted, endedAtMs: nowMs - dayMs }] }), false);
    assert.equal(beginsByItself({ ...asked, history: [{ ...aborted, endedAtMs: nowMs - 8 * dayMs }] }), true);
  });
});
