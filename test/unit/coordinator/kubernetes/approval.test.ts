import assert from 'node:assert/strict';
import {
  type ApprovalQuestion,
  backdateMs,
  type CertificateSigningRequest,
  certificateName,
  deletableAtMs,
  judge,
  lifetimeMs,
  permissionsFor,
  type Signer,
  signerOf,
  standingFault,
} from '@evercert/coordinator/kubernetes';
import fc from 'fast-check';

const signerNamed = (name: string): Signer => signerOf(name, 'demo', ['cluster-ca']) as Signer;
const node = { username: 'system:node:worker-1', uid: '', groups: ['system:nodes', 'system:authenticated'], extra: {} };
const bootstrapper = { username: 'system:bootstrap:abcdef', uid: '', groups: ['system:bootstrappers'], extra: {} };
const subject = { commonName: 'system:node:worker-1', organizations: ['system:nodes'], uris: [], otherNames: 0 };
const known: NonNullable<ApprovalQuestion['known']> = {
  node: [
    { type: 'Hostname', address: 'Worker-1' },
    { type: 'InternalIP', address: '10.0.0.1' },
    { type: 'InternalIP', address: 'FD00:0::1' },
    { type: 'ExternalDNS', address: 'kubernetes' },
    { type: 'ExternalDNS', address: 'web.default.svc' },
    { type: 'ExternalDNS', address: 'api.example' },
    { type: 'ExternalDNS', address: 'x.cluster.local' },
    { type: 'ExternalDNS', address: 'worker-2' },
    { type: 'ExternalDNS', address: '*.example' },
    { type: 'InternalIP', address: '127.0.0.1' },
    { type: 'InternalIP', address: '10.96.3.4' },
    { type: 'ExternalIP', address: '203.0.113.5' },
  ],
  registered: { name: 'worker-1', addresses: ['10.0.0.9'], dnsNames: ['worker-1.example'] },
  cluster: {
    dnsDomain: 'cluster.local',
    serviceCidr: '10.96.0.0/12',
    controlPlaneEndpoint: 'api.example:6443',
    apiServerExtraSans: ['203.0.113.5'],
  },
  holder: (name) => (name === 'worker-2' ? 'worker-2' : undefined),
};
const serving: ApprovalQuestion = {
  signer: signerNamed('kubernetes.io/kubelet-serving'),
  request: { ...subject, dnsNames: ['worker-1'], ipAddresses: ['10.0.0.1'], usages: ['digital signature', 'server auth'] },
  requester: node,
  permission: undefined,
  known,
  ageMs: 0,
  rules: [],
};
const kubelet: ApprovalQuestion = {
  ...serving,
  signer: signerNamed('kubernetes.io/kube-apiserver-client-kubelet'),
  request: { ...subject, dnsNames: [], ipAddresses: [], usages: ['digital signature', 'client auth'] },
  permission: 'selfnodeclient',
};
const own: ApprovalQuestion = {
  ...serving,
  signer: signerNamed('evercert.io/demo-cluster-ca'),
  request: {
    ...kubelet.request,
    commonName: 'web.monitoring',
    organizations: [],
    dnsNames: ['web.monitoring.example'],
    usages: ['server auth'],
  },
  requester: { username: 'prometheus', uid: '', groups: ['monitoring'], extra: {} },
};
const rule: ApprovalQuestion['rules'][number] = {
  users: [],
  groups: ['monitoring'],
  commonNames: ['*.monitoring'],
  organizations: [],
  dnsNames: ['*.monitoring.example'],
  uris: [],
  ipRanges: ['10.1.0.0/16', 'fd00::/8'],
  usages: ['server auth'],
};

describe('approval of requests', () => {
  describe('of a kubelet’s client certificate', () => {
    it('asks for selfnodeclient first where a node asks for itself, and for nodeclient of all others', () => {
      assert.deepEqual(permissionsFor(kubelet), ['selfnodeclient', 'nodeclient']);
      assert.deepEqual(permissionsFor({ ...kubelet, requester: bootstrapper }), ['nodeclient']);
    });

    it('asks nothing where the request breaks the rules, and of other signers', () => {
      assert.deepEqual(permissionsFor({ ...kubelet, request: { ...kubelet.request, organizations: [] } }), []);
      assert.deepEqual(permissionsFor(serving), []);
      assert.deepEqual(permissionsFor(own), []);
    });

    it('is given to whoever has the permission, and left to a person else', () => {
      assert.equal(judge(kubelet).verdict, 'Approve');
      assert.equal(judge({ ...kubelet, requester: bootstrapper, permission: 'nodeclient' }).verdict, 'Approve');
      const left = judge({ ...kubelet, permission: undefined });
      assert.equal(left.verdict, 'Leave');
      assert.ok('againAfterMs' in left, 'the permission may come');
    });

    it('is left where the request breaks the rules, whatever the permission', () => {
      assert.equal(judge({ ...kubelet, request: { ...kubelet.request, dnsNames: ['a'] } }).verdict, 'Leave');
    });
  });

  describe('of a kubelet’s serving certificate', () => {
    const names = (dnsNames: string[], ipAddresses: string[], more: Partial<ApprovalQuestion> = {}): ReturnType<typeof judge> =>
      judge({ ...serving, request: { ...serving.request, dnsNames, ipAddresses }, ...more });

    it('is given for what the Node object tells, in any spelling, and for what is registered', () => {
      assert.equal(names(['worker-1'], ['10.0.0.1', 'fd00::1']).verdict, 'Approve');
      assert.equal(names(['WORKER-1.example'], ['10.0.0.9'], { known: { ...known, node: undefined } }).verdict, 'Approve');
    });

    it('waits a while for names that are not known, then denies them', () => {
      for (const ageMs of [0, 29_000]) assert.equal(names(['worker-1', 'other'], [], { ageMs }).verdict, 'Leave');
      const denied = names(['worker-1', 'other'], [], { ageMs: 31_000 });
      assert.equal(denied.verdict, 'Deny');
      assert.match(denied.message, /"other" is not known as the node's/);
    });

    it('waits for a Node object that is not there yet', () => {
      assert.equal(names(['x'], [], { known: { ...known, node: undefined, registered: undefined } }).verdict, 'Leave');
    });

    for (const name of ['kubernetes', 'web.default.svc', 'x.cluster.local', 'api.example', 'worker-2', '*.example'])
      it(`denies ${name} at once, although the Node object tells it`, () => assert.equal(names([name], []).verdict, 'Deny'));
    for (const address of ['127.0.0.1', '10.96.3.4', '203.0.113.5'])
      it(`denies ${address} at once, although the Node object tells it`, () => assert.equal(names([], [address]).verdict, 'Deny'));

    it('is given for the API server’s own address to a node for which it is registered', () => {
      const registered = { name: 'cp-1', addresses: ['203.0.113.5'], dnsNames: ['api.example'] };
      assert.equal(names(['api.example'], ['203.0.113.5'], { known: { ...known, registered } }).verdict, 'Approve');
    });

    for (const [who, requester] of Object.entries({
      'another node': { ...node, username: 'system:node:worker-2' },
      'a user of that name without the group': { ...node, groups: ['system:authenticated'] },
      'a bootstrapper': bootstrapper,
      'an admin': { ...node, username: 'kubernetes-admin', groups: ['system:masters'] },
    }))
      it(`denies ${who}`, () => {
        const verdict = judge({ ...serving, requester });
        assert.deepEqual([verdict.verdict, verdict.verdict === 'Deny' && verdict.reason], ['Deny', 'NotTheNode']);
      });

    it('never comes without knowledge of the node', () => {
      assert.notEqual(judge({ ...serving, known: undefined }).verdict, 'Approve');
    });

    it('never holds a name that is neither the Node object’s nor registered', () => {
      const pool = [...(known.node ?? []).map(({ address }) => address), '10.0.0.9', 'worker-1.example', 'evil.example', '8.8.8.8'];
      const good = new Set(['worker-1', '10.0.0.1', '10.0.0.9', 'worker-1.example']);
      fc.assert(
        fc.property(fc.uniqueArray(fc.constantFrom(...pool), { minLength: 1, maxLength: 5 }), fc.nat(60_000), (asked, ageMs) => {
          const addresses = asked.filter((name) => /^[\d.]+$/.test(name));
          const dns = asked.filter((name) => !/^[\d.]+$/.test(name) && !name.includes(':'));
          const { verdict } = names(dns, addresses, { ageMs });
          const all = [...dns, ...addresses].map((name) => name.toLowerCase());
          assert.equal(verdict === 'Approve', all.length > 0 && all.every((name) => good.has(name)));
        }),
      );
    });
  });

  describe('of other clients', () => {
    it('is always a person’s', () => {
      const client = { ...kubelet, signer: signerNamed('kubernetes.io/kube-apiserver-client') };
      for (const requester of [node, { ...node, username: 'admin', groups: ['system:masters'] }])
        assert.equal(judge({ ...client, requester }).verdict, 'Leave');
    });
  });

  describe('by one of Evercert’s own signers', () => {
    const by = (change: Partial<ApprovalQuestion['request']>, more: Partial<ApprovalQuestion> = {}): string =>
      judge({ ...own, rules: [rule], request: { ...own.request, ...change }, ...more }).verdict;

    it('is a person’s where no rule says otherwise', () => assert.equal(judge(own).verdict, 'Leave'));
    it('is a rule’s where everything fits', () => {
      assert.equal(by({}), 'Approve');
      assert.equal(
        by({ ipAddresses: ['10.1.255.1', 'fd00::2'], usages: ['digital signature', 'key encipherment', 'server auth'] }),
        'Approve',
      );
    });
    // A pattern that is written with a wildcard allows that wildcard as it stands.
    for (const [what, change] of Object.entries({
      'another common name': { commonName: 'web.production' },
      'a common name with one dot more': { commonName: 'a.b.monitoring' },
      'a wildcard': { dnsNames: ['*.monitoring.example'] },
      'another DNS name': { dnsNames: ['web.monitoring.example', 'example'] },
      'a group': { organizations: ['admins'] },
      'a URI': { uris: ['spiffe://a/b'] },
      'another address': { ipAddresses: ['10.2.0.1'] },
      'another purpose': { usages: ['server auth', 'client auth'] },
    }))
      it(`is ${what === 'a wildcard' ? 'the rule’s' : 'a person’s'} with ${what}`, () => {
        assert.equal(by(change), what === 'a wildcard' ? 'Approve' : 'Leave');
      });
    it('is a person’s for another requester', () => assert.equal(by({}, { requester: node }), 'Leave'));
    it('is denied where it can never be signed', () => assert.equal(by({ commonName: 'system:admin' }), 'Deny'));
  });

  it('is refused in the name of a node that is gone, banned or awaited', () => {
    const good = { node: 'a', registered: true, awaited: false, removed: false, identityRevokedBy: undefined };
    assert.equal(standingFault(good, true), undefined);
    assert.equal(standingFault({ ...good, registered: false }, false), undefined, 'whoever may bootstrap brings a new node');
    assert.equal(standingFault({ ...good, removed: true }, false), undefined, 'registered again');
    assert.match(standingFault({ ...good, registered: false, removed: true }, false) ?? '', /was removed/);
    assert.match(standingFault({ ...good, identityRevokedBy: 'entry 1' }, false) ?? '', /entry 1/);
    assert.match(standingFault({ ...good, awaited: true }, true) ?? '', /is being replaced/);
    assert.equal(standingFault({ ...good, awaited: true }, false), undefined, 'the new machine');
  });

  it('gives the life that was asked for, between ten minutes and the cluster’s', () => {
    const table: [number | undefined, number, number][] = [
      [undefined, 345_600, 345_600],
      [600, 345_600, 600],
      [1, 345_600, 600],
      [86_400, 345_600, 86_400],
      [999_999_999, 345_600, 345_600],
      [undefined, 120, 120],
      [600, 120, 120],
    ];
    for (const [asked, leaf, seconds] of table) assert.equal(lifetimeMs(asked, leaf), seconds * 1000, `${asked} of ${leaf}`);
    assert.equal(backdateMs(300_000, 345_600_000), 300_000);
    assert.equal(backdateMs(300_000, 120_000), 10_000);
  });

  it('records under names that no manifest can declare, and that stay the same for a request', () => {
    assert.equal(certificateName('client-kubelet', 'worker-1', 'csr-abc'), 'kubelet-client.csr');
    assert.equal(certificateName('kubelet-serving', 'worker-1', 'csr-abc'), 'kubelet-serving.csr');
    assert.equal(certificateName('client', undefined, 'alice'), 'alice.csr');
    const long = certificateName('own', undefined, 'a'.repeat(253));
    assert.ok(long.length <= 63 && long.endsWith('.csr'));
    assert.notEqual(certificateName('client', undefined, 'kubelet-client'), 'kubelet-client.csr');
  });

  it('is forgotten by the times of kube-controller-manager', () => {
    const creationTimestamp = '2026-01-01T00:00:00Z';
    const at = (ms: number): number => Date.parse(creationTimestamp) + ms;
    const object = (status: CertificateSigningRequest['status']): CertificateSigningRequest =>
      ({ metadata: { creationTimestamp }, spec: {}, status }) as unknown as CertificateSigningRequest;
    const condition = (type: 'Approved' | 'Denied' | 'Failed') => ({ type, status: 'True', lastUpdateTime: '2026-01-01T00:10:00Z' });
    const hour = 3_600_000;
    assert.equal(deletableAtMs(object({})), at(24 * hour));
    assert.equal(deletableAtMs(object({ conditions: [condition('Denied')] })), at(hour + 600_000));
    assert.equal(deletableAtMs(object({ conditions: [condition('Approved')], certificate: 'x' })), at(hour + 600_000));
    assert.equal(deletableAtMs(object({ conditions: [condition('Approved'), condition('Failed')] })), at(hour + 600_000));
    assert.equal(deletableAtMs(object({ conditions: [condition('Approved')] })), undefined, 'somebody waits for it');
  });
});
