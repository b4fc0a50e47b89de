import assert from 'node:assert/strict';
import { type CertificateFacts, planNode, planRepair, progressOf, type RepairFacts } from '@evercert/coordinator/repair';

const nowMs = Date.parse('2026-06-01T12:00:00Z');
const hour = 3600_000;

function certificate(name: string, change: Partial<CertificateFacts> = {}): CertificateFacts {
  const issued = { serial: `${name}-1`, issuedAtMs: nowMs - hour, notAfterMs: nowMs + hour };
  const reported = { serial: issued.serial, notAfterMs: issued.notAfterMs, state: 'Ready', error: '', served: '' };
  return { name, issued, reported, verified: false, revokedBy: [], refusedBy: [], ...change };
}

function node(name: string, change: Partial<RepairFacts> = {}): RepairFacts {
  return {
    name,
    role: 'control-plane',
    joined: true,
    connected: true,
    unreachable: false,
    identity: { serial: 'id-1', notAfterMs: nowMs + hour, revokedBy: undefined },
    policy: 'repair-window',
    certificates: [certificate('apiserver')],
    components: [],
    checked: [],
    ...change,
  };
}

const match = (change: object = {}) => ({
  object: 'incident',
  entry: 1,
  kind: 'Group' as const,
  value: 'system:nodes',
  description: '',
  reason: 'unspecified' as const,
  addedAtMs: nowMs - hour,
  ...change,
});
const expired = certificate('apiserver', {
  reported: { serial: 'apiserver-1', notAfterMs: nowMs - 1, state: 'Expired', error: '', served: '' },
});
const deadIdentity = { serial: 'id-1', notAfterMs: nowMs - 1, revokedBy: undefined };
const etcd = (state: string) => ({ checked: ['etcd'], components: [{ name: 'etcd', state, message: 'seen', checkedAtMs: nowMs }] });

describe('the plan of a repair', () => {
  const cases: [string, RepairFacts, { action: string; kinds: string[]; certificates?: string[]; reason?: RegExp }][] = [
    ['leaves a healthy node alone', node('cp-1'), { action: 'skip', kinds: [], reason: /in order/ }],
    ['waits for a node that has not joined', node('cp-1', { joined: false }), { action: 'skip', kinds: [], reason: /not joined/ }],
    [
      'issues what has expired anew',
      node('cp-1', { certificates: [expired] }),
      { action: 'repair', kinds: ['Expired'], certificates: ['apiserver'] },
    ],
    [
      'counts what lies on the node, not a newer one that never came there',
      node('cp-1', { certificates: [{ ...expired, issued: { serial: 'new', issuedAtMs: nowMs, notAfterMs: nowMs + hour } }] }),
      { action: 'repair', kinds: ['Expired'], certificates: ['apiserver'] },
    ],
    [
      'issues what was never issued, and what is not in place',
      node('cp-1', {
        certificates: [certificate('a', { issued: undefined, reported: undefined }), certificate('b', { reported: undefined })],
      }),
      { action: 'repair', kinds: ['Missing', 'Missing'], certificates: ['a', 'b'] },
    ],
    [
      'issues what is broken, or not what the component serves',
      node('cp-1', {
        certificates: [
          certificate('a', { reported: { serial: 'a-1', notAfterMs: nowMs + hour, state: 'Failed', error: 'why', served: '' } }),
          certificate('b', { reported: { serial: 'b-1', notAfterMs: nowMs + hour, state: 'Ready', error: '', served: 'NotServed' } }),
        ],
      }),
      { action: 'repair', kinds: ['Broken', 'Broken'], certificates: ['a', 'b'] },
    ],
    [
      'leaves a renewal that is under way alone',
      node('cp-1', {
        certificates: [
          certificate('a', { reported: { serial: 'a-1', notAfterMs: nowMs + hour, state: 'Issuing', error: '', served: 'Unreachable' } }),
        ],
      }),
      { action: 'skip', kinds: [] },
    ],
    [
      'replaces what is revoked by serial before it has expired',
      node('cp-1', { certificates: [certificate('apiserver', { revokedBy: [match({ kind: 'SerialNumber', value: '77fd' })] })] }),
      { action: 'repair', kinds: ['Revoked'], certificates: ['apiserver'] },
    ],
    [
      'replaces what is revoked up to a time that has passed',
      node('cp-1', { certificates: [certificate('apiserver', { revokedBy: [match({ notBeforeMs: nowMs - 1 })] })] }),
      { action: 'repair', kinds: ['Revoked'], certificates: ['apiserver'] },
    ],
    [
      'is refused by an entry without notBefore, names it, and says how to set one',
      node('cp-1', { certificates: [certificate('kubelet-client', { revokedBy: [match()], refusedBy: [match()] })] }),
      {
        action: 'refused',
        kinds: ['Refused'],
        certificates: [],
        reason: /entry 2 \(Group system:nodes\) of RenewRevocation incident, which has no notBefore\. Set notBefore/,
      },
    ],
    [
      'is refused by an entry whose notBefore is yet to come',
      node('cp-1', { certificates: [certificate('kubelet-client', { refusedBy: [match({ notBeforeMs: nowMs + hour })] })] }),
      { action: 'refused', kinds: ['Refused'], certificates: [], reason: /issued before 2026-06-01T13:00:00\.000Z/ },
    ],
    [
      'repairs the rest of a node of which something is refused',
      node('cp-1', { certificates: [expired, certificate('kubelet-client', { refusedBy: [match()] })] }),
      { action: 'repair', kinds: ['Expired', 'Refused'], certificates: ['apiserver'] },
    ],
    [
      'lets an expired identity come back',
      node('cp-1', { identity: deadIdentity }),
      { action: 'repair', kinds: ['IdentityExpired'], certificates: [] },
    ],
    [
      'lets one come back that has not ended, and is by a control CA that was replaced',
      node('cp-1', { identity: { ...deadIdentity, notAfterMs: nowMs + hour, over: true } }),
      { action: 'repair', kinds: ['IdentityExpired'], certificates: [] },
    ],
    [
      'does not let it where the policy is never',
      node('cp-1', { identity: deadIdentity, policy: 'never' }),
      {
        action: 'refused',
        kinds: ['IdentityExpired'],
        reason: /policy .* never .*evercert token create --cluster demo --role control-plane --node-name cp-1/,
      },
    ],
    [
      'never lets a revoked identity come back',
      node('cp-1', { identity: { ...deadIdentity, revokedBy: match({ kind: 'SerialNumber', value: '1d' }) } }),
      { action: 'refused', kinds: ['IdentityRevoked', 'IdentityExpired'], reason: /a revoked identity is never recovered/ },
    ],
    [
      'looks after a node of which nothing is heard',
      node('cp-1', { unreachable: true, connected: false }),
      { action: 'repair', kinds: ['Silent'], certificates: [] },
    ],
    [
      'says so when only the component is unwell',
      node('cp-1', etcd('Unhealthy')),
      { action: 'skip', kinds: ['Unhealthy'], reason: /but etcd is Unhealthy: seen/ },
    ],
  ];
  for (const [title, facts, expected] of cases) {
    it(title, () => {
      const plan = planNode('demo', facts, nowMs);
      assert.equal(plan.action, expected.action);
      assert.deepEqual(
        plan.findings.map(({ kind }) => kind),
        expected.kinds,
      );
      if (expected.certificates) assert.deepEqual(plan.certificates, expected.certificates);
      if (expected.reason) assert.match(plan.reason, expected.reason);
      assert.equal(plan.expiredIdentity, facts.identity === deadIdentity ? 'id-1' : plan.expiredIdentity);
    });
  }

  const three = (...changes: Partial<RepairFacts>[]): RepairFacts[] =>
    [0, 1, 2].map((index) => node(`cp-${index + 1}`, changes[index] ?? {}));
  const strategies: [string, RepairFacts[], 'serial' | 'parallel', string[]][] = [
    ['one at a time while etcd has its quorum', three(etcd('Healthy'), etcd('Healthy'), etcd('Unreachable')), 'serial', ['cp-1', 'cp-2']],
    ['all at once when etcd has lost it', three(etcd('Healthy'), etcd('Unreachable'), etcd('Unhealthy')), 'parallel', ['cp-1']],
    [
      'no trust in what agents said before their identities ran out',
      three({ ...etcd('Healthy'), identity: deadIdentity }, { ...etcd('Healthy'), identity: deadIdentity }, etcd('Healthy')),
      'parallel',
      ['cp-3'],
    ],
    [
      'no trust in what silent agents said',
      three({ ...etcd('Healthy'), unreachable: true }, { ...etcd('Healthy'), unreachable: true }, etcd('Healthy')),
      'parallel',
      ['cp-3'],
    ],
    [
      'expired leaves of others do not matter where etcd itself says that it is well',
      three({ ...etcd('Healthy'), certificates: [expired] }, etcd('Healthy'), {}),
      'serial',
      ['cp-1', 'cp-2'],
    ],
    ['without health checks, nodes of which nothing has run out count', three({ certificates: [expired] }), 'serial', ['cp-2', 'cp-3']],
    [
      'without health checks, all at once when most have run out',
      three({ certificates: [expired] }, { identity: deadIdentity }),
      'parallel',
      ['cp-3'],
    ],
    ['one node alone has nobody to keep a quorum with, and loses none', [node('cp-1', { certificates: [expired] })], 'parallel', []],
    ['workers do not count', [node('worker-1', { role: 'worker' }), node('cp-1', { identity: deadIdentity })], 'parallel', []],
  ];
  for (const [title, nodes, strategy, healthy] of strategies) {
    it(`goes by the quorum: ${title}`, () => {
      const plan = planRepair({ cluster: 'demo', nodes, named: [], nowMs });
      assert.equal(plan.strategy, strategy);
      assert.deepEqual(plan.quorum.healthy, healthy);
    });
  }

  it('is for control-plane nodes, and for workers only by their name', () => {
    const nodes = [node('cp-1'), node('worker-1', { role: 'worker', certificates: [expired] })];
    assert.deepEqual(
      planRepair({ cluster: 'demo', nodes, named: [], nowMs }).nodes.map((each) => each.node),
      ['cp-1'],
    );
    assert.deepEqual(
      planRepair({ cluster: 'demo', nodes, named: ['worker-1'], nowMs }).nodes.map(({ node, action }) => [node, action]),
      [['worker-1', 'repair']],
    );
  });
});

describe('the progress of a repair', () => {
  const startMs = nowMs - 5000;
  const plan = planNode('demo', node('cp-1', { identity: deadIdentity, certificates: [expired] }), nowMs);
  const fresh = (change: object = {}) =>
    certificate('apiserver', {
      issued: { serial: 'apiserver-2', issuedAtMs: nowMs - 1000, notAfterMs: nowMs + hour },
      reported: { serial: 'apiserver-2', notAfterMs: nowMs + hour, state: 'Ready', error: '', served: '', ...change },
    });
  const back = { identity: { serial: 'id-2', notAfterMs: nowMs + hour, revokedBy: undefined } };
  const progress = (change: Partial<RepairFacts>, at = nowMs) => progressOf({ plan, facts: node('cp-1', change), startMs, nowMs: at });

  it('waits for the identity, the connection and each certificate', () => {
    assert.equal(progress({ identity: deadIdentity, certificates: [expired] }).waiting.length, 2);
    assert.match(progress({ ...back, connected: false, certificates: [fresh()] }).waiting.join(), /connect/);
    assert.match(progress({ ...back, certificates: [expired] }).waiting.join(), /a fresh apiserver/);
  });

  it('does not take a certificate for fresh that was issued before, or is not in place', () => {
    const old = certificate('apiserver');
    assert.deepEqual(progress({ ...back, certificates: [old] }).issued, []);
    assert.deepEqual(progress({ ...back, certificates: [fresh({ serial: 'apiserver-1' })] }).issued, []);
  });

  it('is at its end when all is in place', () => {
    assert.deepEqual(progress({ ...back, certificates: [fresh()] }), { recovered: true, issued: ['apiserver'], serving: [], waiting: [] });
  });

  it('waits until the component serves it, and does not take another one for it', () => {
    const verified = (served: string) => ({ ...back, certificates: [{ ...fresh({ served }), verified: true }] });
    assert.deepEqual(progress(verified('Served')).serving, ['apiserver']);
    assert.match(progress(verified('')).waiting.join(), /served/);
    assert.match(progress(verified('NotServed'), nowMs + hour / 2).waiting.join(), /served/);
    // A component that is not up says nothing against the certificate.
    assert.deepEqual(progress(verified('Unreachable'), nowMs + 20_000).waiting, []);
  });

  it('waits for a component to be well, as seen since the beginning', () => {
    const withEtcd = (state: string, checkedAtMs: number) => ({
      ...back,
      certificates: [fresh()],
      checked: ['etcd'],
      components: [{ name: 'etcd', state, message: 'm', checkedAtMs }],
    });
    assert.match(progress(withEtcd('Healthy', startMs - 1)).waiting.join(), /etcd/);
    assert.match(progress(withEtcd('Unhealthy', nowMs)).waiting.join(), /etcd to be healthy \(Unhealthy: m\)/);
    assert.deepEqual(progress(withEtcd('Healthy', nowMs)).waiting, []);
  });

  it('forgets a certificate that is declared no more', () => {
    assert.deepEqual(progress({ ...back, certificates: [] }).waiting, []);
  });
});
