import assert from 'node:assert/strict';
import { type RequestedCertificate, type Signer, signerOf, violationOf } from '@evercert/coordinator/kubernetes';
import fc from 'fast-check';

const signerNamed = (name: string): Signer => signerOf(name, 'demo', ['cluster-ca', 'etcd-ca']) as Signer;
const kubelet = signerNamed('kubernetes.io/kube-apiserver-client-kubelet');
const serving = signerNamed('kubernetes.io/kubelet-serving');
const client = signerNamed('kubernetes.io/kube-apiserver-client');
const own = signerNamed('evercert.io/demo-cluster-ca');

const base: RequestedCertificate = {
  commonName: 'system:node:worker-1',
  organizations: ['system:nodes'],
  dnsNames: [],
  ipAddresses: [],
  uris: [],
  otherNames: 0,
  usages: ['digital signature', 'key encipherment', 'client auth'],
};
const servingBase = { ...base, dnsNames: ['worker-1'], usages: ['digital signature', 'key encipherment', 'server auth'] };
const clientBase = { ...base, commonName: 'alice', organizations: ['team-a'] };

type Row = [what: string, change: Partial<RequestedCertificate>, why?: RegExp];

function table(title: string, signer: Signer, from: RequestedCertificate, rows: Row[]): void {
  describe(title, () => {
    for (const [what, change, why] of rows) {
      it(`${why === undefined ? 'signs' : 'does not sign'} ${what}`, () => {
        const fault = violationOf(signer, { ...from, ...change });
        if (why === undefined) assert.equal(fault, undefined);
        else assert.match(fault ?? 'signed', why);
      });
    }
  });
}

describe('the rules of signers', () => {
  table('kubernetes.io/kube-apiserver-client-kubelet', kubelet, base, [
    ['what kubelet asks for', {}],
    ['a request without key encipherment', { usages: ['client auth', 'digital signature'] }],
    ['usages in any order, and twice', { usages: ['client auth', 'key encipherment', 'digital signature', 'client auth'] }],
    ['a node whose name holds dots', { commonName: 'system:node:ip-10-0-0-1.ec2.internal' }],
    ['a second organization', { organizations: ['system:nodes', 'x'] }, /organization/],
    ['the organization twice', { organizations: ['system:nodes', 'system:nodes'] }, /organization/],
    ['no organization', { organizations: [] }, /organization/],
    ['system:masters', { organizations: ['system:masters'] }, /organization/],
    ['another common name', { commonName: 'worker-1' }, /common name/],
    ['a common name in other letters', { commonName: 'System:Node:worker-1' }, /common name/],
    ['no node', { commonName: 'system:node:' }, /node's name/],
    ['what cannot be a node', { commonName: 'system:node:a/../b' }, /node's name/],
    ['a name that is too long', { commonName: `system:node:${'a.'.repeat(127)}a` }, /node's name/],
    ['a DNS name', { dnsNames: ['worker-1'] }, /DNS/],
    ['an address', { ipAddresses: ['10.0.0.1'] }, /IP/],
    ['a URI', { uris: ['spiffe://a'] }, /URI/],
    ['an e-mail address', { otherNames: 1 }, /e-mail/],
    ['no digital signature', { usages: ['key encipherment', 'client auth'] }, /usages/],
    ['no client auth', { usages: ['digital signature', 'key encipherment'] }, /usages/],
    ['server auth', { usages: [...base.usages, 'server auth'] }, /usages/],
    ['any', { usages: [...base.usages, 'any'] }, /usages/],
    ['no usage', { usages: [] }, /usages/],
  ]);

  table('kubernetes.io/kubelet-serving', serving, servingBase, [
    ['a DNS name', {}],
    ['an address alone', { dnsNames: [], ipAddresses: ['10.0.0.1'] }],
    ['a request without key encipherment', { usages: ['digital signature', 'server auth'] }],
    ['no name', { dnsNames: [] }, /required/],
    ['a URI beside a name', { uris: ['spiffe://a'] }, /URI/],
    ['an e-mail address beside a name', { otherNames: 1 }, /e-mail/],
    ['another organization', { organizations: ['nodes'] }, /organization/],
    ['another common name', { commonName: 'worker-1' }, /common name/],
    ['client auth', { usages: [...servingBase.usages, 'client auth'] }, /usages/],
    ['client auth instead', { usages: base.usages }, /usages/],
  ]);

  table('kubernetes.io/kube-apiserver-client', client, clientBase, [
    ['any subject', {}],
    ['any names', { dnsNames: ['a.example'], ipAddresses: ['10.0.0.1'], uris: ['spiffe://a/b'] }],
    ['client auth alone', { usages: ['client auth'] }],
    ['system:masters', { organizations: ['system:masters'] }, /system:masters/],
    ['no client auth', { usages: ['digital signature'] }, /required/],
    ['server auth', { usages: ['client auth', 'server auth'] }, /not allowed/],
    ['signing of certificates', { usages: ['client auth', 'cert sign'] }, /not allowed/],
    ['nothing at all', { commonName: '', organizations: [] }, /neither/],
    ['an e-mail address', { otherNames: 1 }, /e-mail/],
  ]);

  table('evercert.io/CLUSTER-CA', own, clientBase, [
    ['both purposes', { usages: ['client auth', 'server auth'] }],
    ['names without a subject', { commonName: '', organizations: [], dnsNames: ['a.example'] }],
    ['a user of Kubernetes', { commonName: 'system:kube-scheduler' }, /reserved/],
    ['a group of Kubernetes', { organizations: ['team-a', 'system:masters'] }, /reserved/],
    ['a group of kubeadm', { organizations: ['kubeadm:cluster-admins'] }, /reserved/],
    ['a group of Kubernetes in other letters', { organizations: ['System:masters'] }, /reserved/],
    ['no purpose', { usages: ['digital signature'] }, /required/],
    ['signing of certificates', { usages: ['server auth', 'cert sign'] }, /not signed/],
    ['code signing', { usages: ['code signing'] }, /not signed/],
  ]);

  it('are for the signers of this cluster alone', () => {
    assert.equal(signerOf('evercert.io/other-cluster-ca', 'demo', ['cluster-ca']), undefined);
    assert.equal(signerOf('evercert.io/demo-etcd-ca', 'demo', ['cluster-ca']), undefined);
    assert.equal(signerOf('kubernetes.io/legacy-unknown', 'demo', ['cluster-ca']), undefined);
    assert.equal(signerOf('constructor', 'demo', ['cluster-ca']), undefined);
  });

  it('let no request of whatever shape to a kubelet’s certificate that is not a node’s', () => {
    const word = fc.constantFrom(
      'system:nodes',
      'system:masters',
      'system:node:a',
      'system:node:',
      'a',
      '',
      'digital signature',
      'client auth',
      'server auth',
      'key encipherment',
    );
    const request = fc.record({
      commonName: word,
      organizations: fc.array(word, { maxLength: 3 }),
      dnsNames: fc.array(word, { maxLength: 2 }),
      ipAddresses: fc.array(fc.constant('10.0.0.1'), { maxLength: 2 }),
      uris: fc.array(word, { maxLength: 1 }),
      otherNames: fc.nat(1),
      usages: fc.array(word, { maxLength: 4 }),
    });
    const holds = (asked: RequestedCertificate, purpose: string): boolean => {
      const usages = [...new Set(asked.usages)].filter((usage) => usage !== 'key encipherment').sort();
      return (
        asked.commonName === 'system:node:a' &&
        asked.organizations.join() === 'system:nodes' &&
        asked.uris.length + asked.otherNames === 0 &&
        usages.join() === [purpose, 'digital signature'].sort().join()
      );
    };
    fc.assert(
      fc.property(request, (asked) => {
        const names = asked.dnsNames.length + asked.ipAddresses.length;
        assert.equal(violationOf(kubelet, asked) === undefined, holds(asked, 'client auth') && names === 0);
        assert.equal(violationOf(serving, asked) === undefined, holds(asked, 'server auth') && names > 0);
      }),
      { numRuns: 2000 },
    );
  });
});
