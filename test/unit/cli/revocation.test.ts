import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DeepPartial, Revocation, RevocationMatch, RevocationReference, Role } from '@evercert/proto';
import { loadDocuments, type RenewRevocation } from '@evercert/shared/manifest';
import { at, certificate, fakeApi, type Handlers, node, run } from './support.ts';

const sample = readFileSync(join(import.meta.dirname, '../../fixtures/founding-revocation.yaml'), 'utf8');
const serial = (n: number): string => `0${n}`.repeat(16);
const by = RevocationReference.fromPartial({ object: 'incident', entry: 1, kind: 'DNS', value: '.cluster.local' });
const match = (fields: DeepPartial<RevocationMatch>): RevocationMatch => RevocationMatch.fromPartial({ by, ...fields });
const object = { kind: 'RenewRevocation', name: 'incident', action: 'created', before: '', after: 'a: 1\n' };

const nodes = [...['cp-1', 'cp-2', 'cp-3'].map((name) => node(name, { role: Role.CONTROL_PLANE })), node('w-1', { role: Role.WORKER })];
const certificates = [
  ...nodes
    .slice(0, 3)
    .flatMap(({ name }, n) => [
      certificate(name, 'apiserver', { serial: serial(n + 1) }),
      certificate(name, 'etcd-server', { serial: serial(n + 4) }),
    ]),
  certificate('cp-1', 'apiserver', { serial: serial(9), current: false, notAfter: at(60) }),
];

/** A coordinator whose apply matches these. */
function coordinator(matches: RevocationMatch[], more: Handlers = {}) {
  return fakeApi({
    apply: () => ({ objects: [object], affected: [], revocationMatches: matches, warnings: [] }),
    listNodes: () => ({ nodes }),
    listCertificates: () => ({ certificates, nextPageToken: '' }),
    ...more,
  });
}
const applies = (api: ReturnType<typeof coordinator>): boolean[] =>
  api.calls.flatMap(({ method, request }) => (method === 'apply' ? [(request as { dryRun: boolean }).dryRun] : []));

describe('evercert apply with revocations', () => {
  it('shows in a dry run what would match, why and until when, and what that means', async () => {
    const matches = [
      match({ node: 'cp-1', certificate: 'apiserver', serial: serial(1) }),
      match({ node: 'cp-1', certificate: 'apiserver', serial: serial(9) }),
      match({ node: 'cp-1', certificate: 'apiserver', future: true }),
      match({ node: 'cp-1', certificate: 'etcd-server', serial: serial(4) }),
    ];
    const api = coordinator(matches);
    const { exitCode, out, err } = await run(['apply', '-f', '-', '--dry-run'], { api, stdin: sample });
    assert.deepEqual([exitCode, err], [0, '']);
    assert.deepEqual(out.split('\n'), [
      'renewrevocation/incident created (dry run)',
      `certificate/cp-1/apiserver (${serial(1)}) would be revoked, by entry 2 (DNS .cluster.local) of incident; ends in 2h11m`,
      `certificate/cp-1/apiserver (${serial(9)}) would be revoked, by entry 2 (DNS .cluster.local) of incident; ends in 1m`,
      'certificate/cp-1/apiserver would not be issued again, by entry 2 (DNS .cluster.local) of incident',
      `certificate/cp-1/etcd-server (${serial(4)}) would be revoked, by entry 2 (DNS .cluster.local) of incident; ends in 2h11m`,
      '1 of 3 control-plane nodes would lose certificates at their ends: cp-1',
      'etcd would keep its quorum: 1 of 3 members are hit',
      "'evercert repair' would be refused by entry 2 (DNS .cluster.local) of incident: set a notBefore there to make it possible",
      'until they end, certificates stay usable wherever neither CRL nor OCSP is asked: see docs/revocation.md',
      '',
    ]);
    assert.deepEqual(applies(api), [true]);
  });

  it('asks for --yes before it takes every control-plane node', async () => {
    const matches = [1, 2, 3].map((n) => match({ node: `cp-${n}`, certificate: 'etcd-server', serial: serial(n + 3) }));
    const api = coordinator(matches);
    const refused = await run(['apply', '-f', '-'], { api, stdin: sample });
    assert.equal(refused.exitCode, 6);
    assert.match(refused.err, /every control-plane node \(cp-1, cp-2, cp-3\): nothing was applied; .*--yes/);
    assert.deepEqual(applies(api), [true]);
    const confirmed = coordinator(matches);
    const { out } = await run(['apply', '-f', '-', '--yes'], { api: confirmed, stdin: sample });
    assert.match(
      out,
      /\nno control-plane node is left then\netcd loses its quorum: 3 of 3 members are hit\n'evercert repair' brings them back\n/,
    );
    assert.deepEqual(applies(confirmed), [true, false]);
  });

  it('counts no node whose matching certificates a newer one has succeeded', async () => {
    const api = coordinator([match({ node: 'cp-1', certificate: 'apiserver', serial: serial(9) })]);
    const { out } = await run(['apply', '-f', '-'], { api, stdin: sample });
    assert.doesNotMatch(out, /control-plane/);
  });
});

describe('evercert revoke', () => {
  const sent = async (args: string[], matches: RevocationMatch[] = []) => {
    const api = coordinator(matches);
    const outcome = await run(['revoke', ...args], { api });
    const request = api.calls.find(({ method }) => method === 'apply')?.request as { documents: { yaml: string }[] } | undefined;
    const [document] = request ? loadDocuments([{ file: 'r', text: request.documents[0]!.yaml }]) : [];
    return { ...outcome, document: document?.document as RenewRevocation };
  };

  it('makes an object with one entry, named by kind and time', async () => {
    const { document, out } = await sent([
      '--serial',
      '00:77:FD',
      '--reason',
      'keyCompromise',
      '--description',
      'stolen',
      '--no-successors',
    ]);
    assert.deepEqual(document.spec.revocations, [
      { kind: 'SerialNumber', serialNumber: '77fd', description: 'stolen', reason: 'keyCompromise', includeSuccessors: false },
    ]);
    assert.equal(document.metadata.name, 'revoke-serial-20260601t120000z');
    assert.match(out, /^renewrevocation\/revoke-serial-20260601t120000z created\nit matches no certificate that is alive/);
  });

  it('takes now and times of RFC 3339, and a name', async () => {
    const now = await sent(['--group', 'system:nodes', '--not-before', 'now', '--name', 'nodes']);
    assert.equal(now.document.metadata.name, 'nodes');
    assert.equal(now.document.spec.revocations[0]?.notBeforeMs, Date.parse('2026-06-01T12:00:00Z'));
    const then = await sent(['--dns', '.a.b', '--not-before', '2026-01-01T00:00:00+01:00']);
    assert.equal(then.document.spec.revocations[0]?.notBeforeMs, Date.parse('2025-12-31T23:00:00Z'));
  });

  it('refuses nothing, two things, and what is none', async () => {
    const cases: [string[], RegExp][] = [
      [[], /one of --serial, --group, --dns and --ip/],
      [['--dns', 'a', '--ip', '::1'], /one of --serial/],
      [['--serial', 'xyz'], /"xyz" is not a serial number/],
      [['--ip', 'localhost'], /expected an IPv4 or IPv6 address, found "localhost"/],
      [['--dns', 'a', '--not-before', 'yesterday'], /--not-before takes 'now' or a time of RFC 3339/],
      [['--dns', 'a', '--no-successors'], /--no-successors goes with --serial/],
      [['--dns', 'a', '--name', 'Not A Name'], /expected a name of lower-case letters/],
    ];
    for (const [args, message] of cases) {
      const { exitCode, err } = await sent(args);
      assert.equal(exitCode, 2, args.join(' '));
      assert.match(err, message);
    }
  });

  it('asks for --yes as apply does', async () => {
    const matches = [1, 2, 3].map((n) => match({ node: `cp-${n}`, certificate: 'apiserver', future: true }));
    assert.equal((await sent(['--dns', '.cluster.local'], matches)).exitCode, 6);
    assert.equal((await sent(['--dns', '.cluster.local', '--dry-run'], matches)).exitCode, 0);
    assert.equal((await sent(['--dns', '.cluster.local', '--yes'], matches)).exitCode, 0);
  });
});

describe('revocations as a resource', () => {
  const shown = Revocation.fromPartial({
    cluster: 'demo',
    name: 'incident',
    namespace: 'kube-system',
    apiVersion: 'certificates.microsoft.com/v1',
    description: 'a theft',
    generation: 2,
    createdAt: at(-7200),
    updatedAt: at(-60),
    source: 'evercert apply',
    yaml: 'original: text\n',
    entries: [
      { kind: 'SerialNumber', value: '77fd', includeSuccessors: true, reason: 'keyCompromise', successorSerials: ['aa', 'bb'], matches: 3 },
      { kind: 'DNS', value: '.cluster.local', notBefore: at(0), reason: 'unspecified', description: 'all names', matches: 4 },
    ],
  });
  const api = () =>
    coordinator([], {
      listRevocations: () => ({ revocations: [shown] }),
      listCertificates: () => ({ certificates: [{ ...certificates[0]!, revokedBy: [by] }, certificates[1]!], nextPageToken: '' }),
      deleteRevocation: () => ({ released: [match({ node: 'cp-1', certificate: 'apiserver', serial: serial(1) })] }),
    });

  it('are listed under each of their names', async () => {
    for (const type of ['revocations', 'revocation', 'renewrevocation', 'renewrevocations', 'rr', 'RenewRevocation']) {
      assert.equal(
        (await run(['get', type], { api: api() })).out,
        'NAME       ENTRIES   MATCHES   AGE    SOURCE\nincident   2         7         120m   evercert apply\n',
      );
    }
  });

  it('are shown as an object that can be applied again', async () => {
    const { out } = await run(['get', 'revocation', 'incident', '-o', 'yaml'], { api: api() });
    const [parsed] = loadDocuments([{ file: 'r', text: out }]);
    assert.equal(parsed!.document.kind, 'RenewRevocation');
    assert.deepEqual((parsed!.document as RenewRevocation).spec.revocations[1], {
      kind: 'DNS',
      dns: '.cluster.local',
      description: 'all names',
      reason: 'unspecified',
      notBeforeMs: at(0).getTime(),
    });
  });

  it('are described with their entries and what they match', async () => {
    const { out } = await run(['describe', 'rr/incident'], { api: api() });
    assert.match(out, /\n {2}1 +SerialNumber +77fd +<none> +keyCompromise +3 +2 +<none>\n/);
    assert.match(out, /\n {2}2 +DNS +\.cluster\.local +2026-06-01T12:00:00Z +unspecified +4 +- +all names\n/);
    assert.match(out, /Matching Certificates:\n.*\n {2}cp-1 +apiserver +(01){16} +yes +in 2h11m +2\n/);
    assert.match(out, /Document:\n {2}original: text\n/);
  });

  it('are deleted, with what that releases', async () => {
    const dry = await run(['delete', 'revocation', 'incident', '--dry-run'], { api: api() });
    assert.equal(
      dry.out,
      `certificate/cp-1/apiserver (${serial(1)}) would no longer be revoked, by entry 2 (DNS .cluster.local) of incident\nrenewrevocation "incident" deleted (dry run)\n`,
    );
    const used = api();
    await run(['delete', '-f', '-'], { api: used, stdin: sample });
    assert.deepEqual(used.calls[0], {
      method: 'deleteRevocation',
      request: { cluster: 'demo', name: 'my-renew-revocation', dryRun: false },
    });
  });

  it('stand beside the certificates that they match, and on their nodes as a condition', async () => {
    const wide = await run(['get', 'certificates', '-o', 'wide'], { api: api() });
    assert.match(wide.out, /REVOKED-BY/);
    assert.match(wide.out, /incident#2/);
    const revoked = {
      name: 'apiserver',
      state: 'Revoked',
      lastErrorCode: 'Revoked',
      lastError: 'revoked by entry 2 of RenewRevocation incident',
    };
    const refused = { type: 'RenewalsSucceeding', status: 'False', reason: 'Revoked', message: 'apiserver is refused by entry 2' };
    const status = { phase: 'Expired', certificates: [revoked], conditions: [refused] };
    const listNodes = () => ({ nodes: [node('cp-1', { role: Role.CONTROL_PLANE, status })] });
    assert.match((await run(['get', 'nodes'], { api: coordinator([], { listNodes }) })).out, /cp-1 +control-plane +Expired,Revoked/);
    const listReplacements = () => ({ replacements: [], pauses: [] });
    const handlers = {
      listNodes,
      listReplacements,
      listManifests: () => ({ manifests: [] }),
      listEvents: () => ({ events: [], nextPageToken: '' }),
    };
    const described = await run(['describe', 'node', 'cp-1'], { api: coordinator([], handlers) });
    assert.match(described.out, /RenewalsSucceeding +False +<unknown> +Revoked +apiserver is refused by entry 2\n/);
  });

  it('are validated without a coordinator', async () => {
    const { out, exitCode } = await run(['validate', '-f', '-'], { stdin: sample });
    assert.deepEqual([exitCode, out], [0, 'renewrevocation/my-renew-revocation valid\n']);
    const json = JSON.parse((await run(['validate', '-f', '-', '-o', 'json'], { stdin: sample })).out) as {
      documents: { object: { spec: { revocations: unknown[] } } }[];
    };
    assert.equal(json.documents[0]?.object.spec.revocations.length, 5);
    const bad = await run(['validate', '-f', '-'], { stdin: sample.replace('kind: Group', 'kind: Grup') });
    assert.equal(bad.exitCode, 2);
    assert.match(bad.err, /^-:15:11: spec\.revocations\[1\]\.kind: unknown kind "Grup"; did you mean "Group"\?\n/);
  });
});
