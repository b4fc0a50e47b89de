/** The same requests, once to the real kube-controller-manager and once to the bridge. What may differ stands in the documentation, and here; all else must not. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CertificateSigningRequest, KubernetesApi } from '@evercert/coordinator/kubernetes';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { allowBootstrapping, type Bridged, bootstrapGroups, clusterRoleBinding, startBridged } from '../support/bridge.ts';
import { approve, requestsPath, userApi } from '../support/certificate-requests.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { foreignRequest } from '../support/openssl-requests.ts';
import { type Case, cases, type Difference, differences } from '../support/signer-cases.ts';
import { needTool, repositoryRoot, runOk } from '../support/tools.ts';

const lifeSeconds = 3600;
/** Controllers that have changed nothing for so long are through. */
const quietMs = 2000;

/** What became of a request. */
interface Told {
  /** `Pending`, or conditions with their reasons, `Issued` where there is a certificate; `refused` by the API server. */
  outcome: string;
  /** Undefined: none. */
  certificate?: Record<string, string>;
}

/** Before anybody looked at it, and after a person approved whatever was still pending. */
interface Outcome {
  alone: Told;
  approved: Told;
}

describe('the bridge beside kube-controller-manager', function () {
  this.timeout(180_000);
  let kubernetes: TestKubernetes;
  let bridged: Bridged;
  let openssl: string;
  let admin: KubernetesApi;
  let apis: Record<Case['by'], KubernetesApi>;
  const requests = new Map<string, string>();
  const byManager = new Map<string, Outcome>();
  const byBridge = new Map<string, Outcome>();

  before(async function () {
    openssl = needTool(this, 'openssl');
    const binaries = needKubernetes(this);
    kubernetes = await startKubernetes(binaries, {
      // Admission would refuse system:masters: here it is seen what the signers do.
      apiServerFlags: ['--disable-admission-plugins=ServiceAccount,CertificateSubjectRestriction'],
      controllers: ['csrsigning', 'csrapproving'],
      controllerManagerFlags: [`--cluster-signing-duration=${lifeSeconds}s`],
    });
    await allowBootstrapping(kubernetes);
    const bindings = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
    const manager = { kind: 'User', name: 'system:kube-controller-manager' } as const;
    await kubernetes.ok('POST', bindings, clusterRoleBinding('system:controller:certificate-controller', manager));
    await kubernetes.ok('POST', '/apis/rbac.authorization.k8s.io/v1/clusterroles', {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'requester' },
      rules: [{ apiGroups: ['certificates.k8s.io'], resources: ['certificatesigningrequests'], verbs: ['create', 'get'] }],
    });
    await kubernetes.ok('POST', bindings, clusterRoleBinding('requester', { kind: 'Group', name: 'requesters' }));
    await kubernetes.ok('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'worker-1' } });
    const addresses = [
      { type: 'Hostname', address: 'worker-1' },
      { type: 'InternalIP', address: '10.1.0.1' },
    ];
    await kubernetes.ok('PATCH', '/api/v1/nodes/worker-1/status', { status: { addresses } });
    admin = userApi(kubernetes.adminKubeconfig);
    const user = async (name: string, organizations: string[]): Promise<KubernetesApi> =>
      userApi(await kubernetes.kubeconfigFor(name.replaceAll(':', '-'), { commonName: name, organizations }));
    apis = {
      bootstrapper: await user('system:bootstrap:abcdef', bootstrapGroups),
      worker: await user('system:node:worker-1', ['system:nodes']),
      outsider: await user('somebody', ['requesters']),
    };
    const folder = join(kubernetes.folder, 'requests');
    mkdirSync(folder);
    // One after the other: some share a key.
    for (const [title, one] of Object.entries(cases)) requests.set(title, await foreignRequest(openssl, folder, nameOf(title), one));

    await play(byManager);
    await kubernetes.process('kube-controller-manager').stop();
    await kubernetes.ok('DELETE', requestsPath);
    bridged = await startBridged({ kubernetes: async () => kubernetes, spec: { leafLifetimeSeconds: lifeSeconds } });
    await play(byBridge);
  });

  after(async () => {
    await bridged?.coordinator.dispose();
    await kubernetes?.stop();
  });

  const nameOf = (title: string): string => `case-${Object.keys(cases).indexOf(title)}`;

  async function play(outcomes: Map<string, Outcome>): Promise<void> {
    const refused = new Map<string, Told>();
    for (const [title, one] of Object.entries(cases)) {
      const created = await create(title, one);
      if (created !== undefined) refused.set(title, created);
    }
    const alone = await settled(refused);
    for (const [title, { outcome }] of alone) if (outcome === 'Pending') await approve(admin, nameOf(title));
    const approved = await settled(refused);
    for (const title of Object.keys(cases)) outcomes.set(title, { alone: alone.get(title) as Told, approved: approved.get(title) as Told });
  }

  /** Undefined: it was taken. */
  async function create(title: string, { by, signer, usages, apiVersion = 'certificates.k8s.io/v1' }: Case): Promise<Told | undefined> {
    const request = Buffer.from(requests.get(title) ?? '').toString('base64');
    const body = {
      apiVersion,
      kind: 'CertificateSigningRequest',
      metadata: { name: nameOf(title) },
      spec: { request, usages, signerName: signer },
    };
    const path = requestsPath.replace('certificates.k8s.io/v1', apiVersion);
    try {
      await apis[by].send({ method: 'POST', path, body });
      return undefined;
    } catch (error) {
      if (!(error instanceof EvercertError)) throw error;
      return { outcome: `refused: HTTP ${error.metadata['httpStatus']} ${error.message}` };
    }
  }

  /** What is told of all when it has not changed for a while: nobody says when a controller is through. */
  async function settled(refused: ReadonlyMap<string, Told>): Promise<Map<string, Told>> {
    let last = '';
    let sinceMs = systemClock.monotonicMs();
    for (;;) {
      const { items } = await admin.send<{ items: CertificateSigningRequest[] }>({ method: 'GET', path: requestsPath });
      const told = new Map<string, Told>();
      for (const title of Object.keys(cases)) {
        const object = items.find(({ metadata }) => metadata.name === nameOf(title));
        told.set(title, refused.get(title) ?? (object ? await tell(object) : { outcome: 'gone' }));
      }
      const text = JSON.stringify([...told]);
      if (text !== last) sinceMs = systemClock.monotonicMs();
      else if (systemClock.monotonicMs() - sinceMs > quietMs) return told;
      last = text;
      await systemClock.sleep(250);
    }
  }

  async function tell({ metadata, status }: CertificateSigningRequest): Promise<Told> {
    const pem = Buffer.from(status?.certificate ?? '', 'base64').toString();
    const conditions = (status?.conditions ?? []).map(({ type, reason }) => `${type} (${reason})`);
    const outcome = [...conditions, ...(pem === '' ? [] : ['Issued'])].join(', ') || 'Pending';
    return { outcome, ...(pem !== '' && { certificate: await contents(pem, metadata.creationTimestamp) }) };
  }

  const read = new Map<string, Record<string, string>>();
  /** In OpenSSL's words; times beside the request's own. */
  async function contents(pem: string, created: string): Promise<Record<string, string>> {
    const known = read.get(pem);
    if (known) return known;
    const { stdout } = await runOk(
      openssl,
      [
        'x509',
        '-noout',
        '-subject',
        '-nameopt',
        'RFC2253,utf8,-esc_msb',
        '-ext',
        'subjectAltName,keyUsage,extendedKeyUsage,basicConstraints',
      ],
      { input: pem },
    );
    const x509 = new X509Certificate(pem);
    const createdMs = Date.parse(created);
    const minutes = (time: string): string => `${Math.round((Date.parse(time) - createdMs) / 60_000)} min`;
    const parts: Record<string, string> = { begins: minutes(x509.validFrom), ends: minutes(x509.validTo) };
    parts['key'] = x509.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
    parts['count'] = String(pem.split('BEGIN CERTIFICATE').length - 1);
    const [subject = '', ...lines] = stdout.trimEnd().split('\n');
    parts['subject'] = subject.replace('subject=', '').split(/[,+]/).sort().join(',');
    for (let index = 0; index + 1 < lines.length; index += 2)
      parts[(lines[index] ?? '').trim().replace('X509v3 ', '')] = (lines[index + 1] ?? '').trim();
    read.set(pem, parts);
    return parts;
  }

  for (const title of Object.keys(cases)) {
    it(`${title} has the same outcome, but for what is documented`, () => {
      const [manager, bridge] = [byManager.get(title) as Outcome, byBridge.get(title) as Outcome];
      const bothIssued = manager.approved.certificate !== undefined && bridge.approved.certificate !== undefined;
      const expected = differences.filter(({ of }) => of.includes(title)).flatMap((one) => expectedOf(one, bothIssued));
      assert.deepEqual(found(manager, bridge).sort(), expected.sort());
    });
  }

  it('signs nothing that kube-controller-manager would not, but for kubelets without key encipherment', () => {
    const more = Object.keys(cases).filter(
      (title) => byBridge.get(title)?.approved.certificate && !byManager.get(title)?.approved.certificate,
    );
    assert.deepEqual(more, ['kubelet: without key encipherment', 'serving: without key encipherment']);
  });

  it('differs in each of the ways that are documented, and in no other', () => {
    const text = readFileSync(join(repositoryRoot, 'docs/kubernetes.md'), 'utf8');
    const [, table = ''] = /### Where it differs from kube-controller-manager\n\n((?:\|.*\n)+)/.exec(text) ?? [];
    const [, , ...lines] = table.trimEnd().split('\n');
    const rows = lines.map((line) => line.split(' | ')[0]?.replace('| ', ''));
    assert.deepEqual(rows.sort(), [...new Set(differences.map(({ row }) => row))].sort());
  });
});

type Found = [what: string, manager: string, bridge: string];

function found(manager: Outcome, bridge: Outcome): Found[] {
  const all: Found[] = [
    ['alone', manager.alone.outcome, bridge.alone.outcome],
    ['approved', manager.approved.outcome, bridge.approved.outcome],
  ];
  const [a, b] = [manager.approved.certificate, bridge.approved.certificate];
  if (a && b) for (const part of new Set([...Object.keys(a), ...Object.keys(b)])) all.push([part, a[part] ?? 'none', b[part] ?? 'none']);
  return all.filter(([, one, other]) => one !== other);
}

/** A part of certificates can differ only where there are two. */
function expectedOf({ alone, approved, part }: Difference, bothIssued: boolean): Found[] {
  return [
    ...(alone ? [['alone', ...alone] satisfies Found] : []),
    ...(approved ? [['approved', ...approved] satisfies Found] : []),
    ...(part && bothIssued ? [part satisfies Found] : []),
  ];
}
