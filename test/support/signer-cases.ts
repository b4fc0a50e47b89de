/** Requests to the signers of Kubernetes, one for each of their rules and some besides, and what may become of them elsewhere than at kube-controller-manager 1.20. */
import type { ForeignRequest } from './openssl-requests.ts';

export interface Case extends ForeignRequest {
  signer: string;
  /** Who asks. */
  by: 'bootstrapper' | 'worker' | 'outsider';
  usages: string[];
  apiVersion?: string;
}

const signers = {
  kubelet: 'kubernetes.io/kube-apiserver-client-kubelet',
  serving: 'kubernetes.io/kubelet-serving',
  client: 'kubernetes.io/kube-apiserver-client',
};
const clientUsages = ['digital signature', 'key encipherment', 'client auth'];
const servingUsages = ['digital signature', 'key encipherment', 'server auth'];
const nodeSubject = '/O=system:nodes/CN=system:node:worker-1';

const kubelet = (more: Partial<Case> = {}): Case => ({
  signer: signers.kubelet,
  by: 'bootstrapper',
  subject: nodeSubject,
  usages: clientUsages,
  ...more,
});
const serving = (more: Partial<Case> = {}): Case => ({
  signer: signers.serving,
  by: 'worker',
  subject: nodeSubject,
  names: ['DNS:worker-1', 'IP:10.1.0.1'],
  usages: servingUsages,
  ...more,
});
const client = (more: Partial<Case> = {}): Case => ({
  signer: signers.client,
  by: 'outsider',
  subject: '/O=team-a/CN=alice',
  usages: ['digital signature', 'client auth'],
  ...more,
});

export const cases: Record<string, Case> = {
  'kubelet: as it should be': kubelet({ key: 'a:rsa3072' }),
  'kubelet: as it should be, by the node itself': kubelet({ by: 'worker', key: 'b:rsa3072' }),
  'kubelet: EC key': kubelet(),
  'kubelet: without key encipherment': kubelet({ usages: ['digital signature', 'client auth'] }),
  'kubelet: by another node': kubelet({ by: 'worker', subject: '/O=system:nodes/CN=system:node:worker-2' }),
  'kubelet: by somebody who may not': kubelet({ by: 'outsider' }),
  'kubelet: no organization': kubelet({ subject: '/CN=system:node:worker-1' }),
  'kubelet: another organization': kubelet({ subject: '/O=system:masters/CN=system:node:worker-1' }),
  'kubelet: two organizations': kubelet({ subject: '/O=system:nodes/O=more/CN=system:node:worker-1' }),
  'kubelet: another prefix': kubelet({ subject: '/O=system:nodes/CN=system:nodes:worker-1' }),
  'kubelet: no common name': kubelet({ subject: '/O=system:nodes' }),
  'kubelet: no name after the prefix': kubelet({ subject: '/O=system:nodes/CN=system:node:' }),
  'kubelet: no node’s name after the prefix': kubelet({ subject: '/O=system:nodes/CN=system:node:a_b' }),
  'kubelet: DNS name': kubelet({ names: ['DNS:worker-1'] }),
  'kubelet: IP address': kubelet({ names: ['IP:10.1.0.1'] }),
  'kubelet: URI': kubelet({ names: ['URI:spiffe://a/b'] }),
  'kubelet: e-mail address': kubelet({ names: ['email:a@b.example'] }),
  'kubelet: no digital signature': kubelet({ usages: ['key encipherment', 'client auth'] }),
  'kubelet: no client auth': kubelet({ usages: ['digital signature', 'key encipherment'] }),
  'kubelet: server auth besides': kubelet({ usages: [...clientUsages, 'server auth'] }),
  'kubelet: server auth instead': kubelet({ usages: servingUsages }),
  'kubelet: other extensions': kubelet({
    key: 'c:rsa3072',
    extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=keyCertSign', 'extendedKeyUsage=serverAuth', '1.2.3.4=ASN1:UTF8String:x'],
  }),
  'kubelet: RSA 2048': kubelet({ key: 'd:rsa2048' }),
  'kubelet: Ed25519': kubelet({ key: 'e:ed25519' }),

  'serving: as it should be': serving({ key: 'f:rsa3072' }),
  'serving: EC key': serving(),
  'serving: without key encipherment': serving({ usages: ['digital signature', 'server auth'] }),
  'serving: one DNS name': serving({ names: ['DNS:worker-1'], key: 'g:rsa3072' }),
  'serving: by somebody else': serving({ by: 'outsider' }),
  'serving: another node': serving({ subject: '/O=system:nodes/CN=system:node:worker-2' }),
  'serving: a service’s name': serving({ names: ['DNS:kubernetes.default.svc'] }),
  'serving: no organization': serving({ subject: '/CN=system:node:worker-1' }),
  'serving: two organizations': serving({ subject: '/O=system:nodes/O=more/CN=system:node:worker-1' }),
  'serving: another prefix': serving({ subject: '/O=system:nodes/CN=worker-1' }),
  'serving: no names': serving({ names: [] }),
  'serving: URI': serving({ names: ['DNS:worker-1', 'URI:spiffe://a/b'] }),
  'serving: e-mail address': serving({ names: ['DNS:worker-1', 'email:a@b.example'] }),
  'serving: no digital signature': serving({ usages: ['key encipherment', 'server auth'] }),
  'serving: no server auth': serving({ usages: ['digital signature', 'key encipherment'] }),
  'serving: client auth besides': serving({ usages: [...servingUsages, 'client auth'] }),

  'client: as it should be': client(),
  'client: RSA key': client({ key: 'h:rsa3072', usages: clientUsages }),
  'client: client auth alone': client({ usages: ['client auth'] }),
  'client: names of all kinds but e-mail': client({
    names: ['DNS:b.example', 'DNS:*.a.example', 'IP:10.1.0.1', 'IP:2001:db8::1', 'URI:spiffe://a/b'],
  }),
  'client: capitals in a DNS name': client({ names: ['DNS:B.example'] }),
  'client: no DNS name in a DNS name': client({ names: ['DNS:a b'] }),
  'client: the same name twice': client({ names: ['DNS:b.example', 'DNS:b.example'] }),
  'client: e-mail address': client({ names: ['email:a@b.example'] }),
  'client: a node’s subject': client({ subject: nodeSubject }),
  'client: several organizations': client({ subject: '/O=team-b/O=team-a/CN=bob' }),
  'client: letters of other scripts': client({ subject: '/O=équipe/CN=Übung' }),
  'client: no subject': client({ subject: '/', names: ['DNS:b.example'] }),
  'client: no common name': client({ subject: '/O=team-a' }),
  'client: more in the subject': client({ subject: '/C=DE/O=team-a/OU=unit/L=Berlin/CN=carol' }),
  'client: system:masters': client({ subject: '/O=system:masters/CN=root' }),
  'client: no client auth': client({ usages: ['digital signature', 'key encipherment'] }),
  'client: server auth besides': client({ usages: ['digital signature', 'client auth', 'server auth'] }),
  'client: another usage': client({ usages: ['client auth', 'code signing'] }),
  'client: cert sign': client({ usages: ['client auth', 'cert sign'] }),
  'client: other extensions': client({ extensions: ['basicConstraints=critical,CA:TRUE,pathlen:3', 'keyUsage=keyCertSign'] }),
  'client: a key once': client({ key: 'once:ec' }),
  'client: and the same key again': client({ key: 'once:ec', subject: '/CN=somebody-else' }),

  'somebody else’s signer': client({ signer: 'example.com/other' }),
  'legacy-unknown': client({ signer: 'kubernetes.io/legacy-unknown', apiVersion: 'certificates.k8s.io/v1beta1' }),
};

const signed = 'Approved (KubectlApprove), Issued';
const failed = 'Approved (KubectlApprove), Failed (SignerValidationFailure)';
const autoSigned = 'Approved (AutoApproved), Issued';

export interface Difference {
  /** First column of the table in docs/kubernetes.md, 'Where it differs from kube-controller-manager'. */
  row: string;
  of: string[];
  /** Outcomes before and after a person's approval; then a part of the certificate: each kube-controller-manager's, and the bridge's. */
  alone?: [string, string];
  approved?: [string, string];
  part?: [string, string, string];
}

const servingOf = (rule: RegExp): string[] => Object.keys(cases).filter((title) => title.startsWith('serving: ') && rule.test(title));
const valid = /as it should be|EC key|one DNS name/;
const stranger = /somebody else|another node/;
const service = /service’s name/;
const noEncipherment = /without key encipherment/;
const invalid = new RegExp(`^(?!.*(?:${[valid, stranger, service, noEncipherment].map(({ source }) => source).join('|')}))`);

export const differences: Difference[] = [
  { row: '`kubelet-serving`', of: servingOf(valid), alone: ['Pending', autoSigned], approved: [signed, autoSigned] },
  {
    row: '`kubelet-serving`',
    of: servingOf(stranger),
    alone: ['Pending', 'Denied (NotTheNode)'],
    approved: [signed, 'Denied (NotTheNode)'],
  },
  {
    row: '`kubelet-serving`',
    of: servingOf(service),
    alone: ['Pending', 'Denied (NamesNotKnown)'],
    approved: [signed, 'Denied (NamesNotKnown)'],
  },
  {
    row: '`kubelet-serving`',
    of: servingOf(invalid),
    alone: ['Pending', 'Denied (InvalidRequest)'],
    approved: [failed, 'Denied (InvalidRequest)'],
  },
  {
    row: 'usages of kubelets without key encipherment',
    of: ['kubelet: without key encipherment', 'serving: without key encipherment'],
    alone: ['Pending', autoSigned],
    approved: [failed, autoSigned],
  },
  {
    row: 'names of nodes',
    of: ['kubelet: no name after the prefix', 'kubelet: no node’s name after the prefix'],
    alone: [autoSigned, 'Pending'],
    approved: [autoSigned, failed],
  },
  {
    row: 'RSA 2048, Ed25519',
    of: ['kubelet: RSA 2048', 'kubelet: Ed25519'],
    alone: [autoSigned, 'Denied (SignerValidationFailure)'],
    approved: [autoSigned, 'Denied (SignerValidationFailure)'],
  },
  { row: 'the same key again', of: ['client: and the same key again'], approved: [signed, failed] },
  { row: 'e-mail addresses in `kube-apiserver-client`', of: ['client: e-mail address'], approved: [signed, failed] },
  { row: '`system:masters`', of: ['client: system:masters'], approved: [signed, failed] },
  { row: '`kubernetes.io/legacy-unknown`', of: ['legacy-unknown'], approved: [signed, 'Approved (KubectlApprove)'] },
  { row: 'DNS names', of: ['client: no DNS name in a DNS name'], approved: [signed, failed] },
  {
    row: 'DNS names',
    of: ['client: capitals in a DNS name'],
    part: ['Subject Alternative Name:', 'DNS:B.example', 'DNS:b.example'],
  },
  {
    row: 'DNS names',
    of: ['client: the same name twice'],
    part: ['Subject Alternative Name:', 'DNS:b.example, DNS:b.example', 'DNS:b.example'],
  },
  {
    row: 'key encipherment with EC keys',
    of: ['kubelet: EC key', 'kubelet: by another node', 'kubelet: by somebody who may not', 'serving: EC key'],
    part: ['Key Usage: critical', 'Digital Signature, Key Encipherment', 'Digital Signature'],
  },
  { row: 'digital signature', of: ['client: client auth alone'], part: ['Key Usage: critical', 'none', 'Digital Signature'] },
  {
    row: 'the subject besides O and CN',
    of: ['client: more in the subject'],
    part: ['subject', 'C=DE,CN=carol,L=Berlin,O=team-a,OU=unit', 'CN=carol,O=team-a'],
  },
  { row: 'end of the life', of: Object.keys(cases), part: ['ends', '55 min', '60 min'] },
];
