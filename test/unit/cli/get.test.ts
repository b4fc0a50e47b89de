import assert from 'node:assert/strict';
import { ChangeType, Event, Manifest, Role, type WatchResponse } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { parse } from 'yaml';
import { at, certificate, fakeApi, node, run } from './support.ts';

const ready = { name: 'apiserver', state: 'Ready', serial: '0a'.repeat(16), notAfter: at(3600), lastRenewalAt: at(-300), failures: 1 };
const pending = { name: 'etcd-server', state: 'Pending' };
const cp1 = node('cp-1', {
  role: Role.CONTROL_PLANE,
  labels: { zone: 'a' },
  addresses: ['10.0.0.1'],
  status: { phase: 'Expiring', agentVersion: '0.1.0', certificates: [ready, pending] },
});
const w1 = node('w-1', { labels: { zone: 'b' } });
const nodesApi = () => fakeApi({ listNodes: ({ name }) => ({ nodes: [w1, cp1].filter((one) => name === '' || one.name === name) }) });

describe('evercert get', () => {
  it('shows nodes in order of their names, as a table', async () => {
    const { out, exitCode } = await run(['get', 'nodes'], { api: nodesApi() });
    assert.equal(
      out,
      'NAME   ROLE            STATUS       AGE   CERTIFICATES   SOONEST-EXPIRY   LAST-RENEWAL   FAILURES   VERSION\n' +
        'cp-1   control-plane   Expiring     60m   1/2            in 1h            5m ago         1          0.1.0\n' +
        'w-1    worker          Registered   60m   0/0            <none>           <none>         0          <none>\n',
    );
    assert.equal(exitCode, 0);
  });

  it('takes types by plural, singular and short name, and TYPE/NAME', async () => {
    for (const target of [['node', 'w-1'], ['no', 'w-1'], ['nodes/w-1'], ['Node', 'w-1']]) {
      const { out } = await run(['get', ...target, '-o', 'name'], { api: nodesApi() });
      assert.equal(out, 'node/w-1\n');
    }
  });

  it('shows certificates with their issuer, serial, age and end', async () => {
    const api = fakeApi({
      listCertificates: () => ({ certificates: [certificate('cp-1', 'apiserver')], nextPageToken: '' }),
      listNodes: () => ({ nodes: [cp1] }),
    });
    const { out } = await run(['get', 'certs', '--node', 'cp-1'], { api });
    assert.equal(
      out,
      'NODE   NAME        ISSUER       SERIAL                             STATE   AGE   EXPIRES\n' +
        'cp-1   apiserver   cluster-ca   0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a   Ready   60s   in 2h11m\n',
    );
  });

  it('finds a certificate by node and name, and by serial number in any notation', async () => {
    const other = certificate('cp-1', 'etcd-server', { serial: 'ff00', current: false });
    const listCertificates = () => ({ certificates: [certificate('cp-1', 'apiserver'), other], nextPageToken: '' });
    const api = () => fakeApi({ listCertificates, listNodes: () => ({ nodes: [] }) });
    assert.equal((await run(['get', 'certificate', 'cp-1/apiserver', '-o', 'name'], { api: api() })).out, 'certificate/cp-1/apiserver\n');
    assert.equal((await run(['get', 'certificate', 'FF:00', '-o', 'name'], { api: api() })).out, 'certificate/cp-1/etcd-server\n');
  });

  it('gathers all pages', async () => {
    const names = ['a', 'b', 'c'];
    const api = fakeApi({
      listNodes: () => ({ nodes: [] }),
      listCertificates: ({ pageToken }) => {
        const page = Number(pageToken || '0');
        return { certificates: [certificate('n', names[page]!)], nextPageToken: page < 2 ? String(page + 1) : '' };
      },
    });
    assert.equal((await run(['get', 'certificates', '-o', 'name'], { api })).out, 'certificate/n/a\ncertificate/n/b\ncertificate/n/c\n');
  });

  it("prints Kubernetes' object form: one object for a name, a List otherwise", async () => {
    const one = parse((await run(['get', 'node', 'cp-1', '-o', 'yaml'], { api: nodesApi() })).out);
    assert.deepEqual([one.apiVersion, one.kind, one.metadata.name, one.metadata.cluster], ['evercert.io/v1', 'Node', 'cp-1', 'demo']);
    assert.deepEqual(one.spec, { role: 'control-plane', addresses: ['10.0.0.1'], dnsNames: [] });
    assert.equal(one.status.certificates[0].notAfter, '2026-06-01T13:00:00Z');
    const all = JSON.parse((await run(['get', 'nodes', '-o', 'json'], { api: nodesApi() })).out);
    assert.equal(all.kind, 'List');
    assert.deepEqual(
      all.items.map((item: { metadata: { name: string } }) => item.metadata.name),
      ['cp-1', 'w-1'],
    );
  });

  it('prints manifests with their own spec', async () => {
    const yaml = 'apiVersion: evercert.io/v1\nkind: CertificateManifest\nmetadata:\n  name: web\nspec:\n  issuer: cluster-ca\n';
    const manifest = Manifest.fromPartial({
      cluster: 'demo',
      kind: 'CertificateManifest',
      name: 'web',
      generation: 3,
      yaml,
      nodes: ['w-1'],
    });
    const api = fakeApi({ listManifests: () => ({ manifests: [manifest] }) });
    const { metadata, spec, status } = parse((await run(['get', 'certificatemanifest', 'web', '-o', 'yaml'], { api })).out);
    assert.deepEqual(
      { metadata, spec, status },
      {
        metadata: { name: 'web', cluster: 'demo', generation: 3 },
        spec: { issuer: 'cluster-ca' },
        status: { nodes: ['w-1'] },
      },
    );
  });

  it('filters by label and by node, and sorts by a field', async () => {
    assert.equal((await run(['get', 'nodes', '-l', 'zone=b', '-o', 'name'], { api: nodesApi() })).out, 'node/w-1\n');
    assert.equal((await run(['get', 'nodes', '-l', 'zone!=b,zone', '-o', 'name'], { api: nodesApi() })).out, 'node/cp-1\n');
    assert.equal((await run(['get', 'nodes', '--node', 'cp-1', '--no-headers'], { api: nodesApi() })).out.split(' ')[0], 'cp-1');
    const sorted = await run(['get', 'nodes', '--sort-by', '{.metadata.labels.zone}', '-o', 'name'], { api: nodesApi() });
    assert.equal(sorted.out, 'node/cp-1\nnode/w-1\n');
  });

  it('works on one cluster, or on all with a column that tells them apart', async () => {
    const api = nodesApi();
    await run(['get', 'nodes', '-c', 'other'], { api });
    assert.deepEqual(api.calls[0]?.request, { cluster: 'other', name: '' });
    const { out } = await run(['get', 'nodes', '-A'], { api: nodesApi() });
    assert.match(out, /^CLUSTER {3}NAME/);
  });

  it('says when nothing is there, on standard error and with exit code 0', async () => {
    const outcome = await run(['get', 'nodes'], { api: fakeApi({ listNodes: () => ({ nodes: [] }) }) });
    assert.deepEqual(outcome, { exitCode: 0, out: '', err: 'No resources found in cluster demo.\n' });
  });

  it('answers an unknown name as the server does, with the exit code of NotFound', async () => {
    const outcome = await run(['get', 'node', 'cp-1', 'nope', '-A'], { api: nodesApi() });
    assert.deepEqual(outcome, { exitCode: 4, out: '', err: 'Error from server (NotFound): nodes "nope" not found\n' });
  });

  it('shows control characters from afar and does not send them to the terminal, in any format and in errors', async () => {
    const event = Event.create({
      id: '1',
      cluster: 'demo',
      reason: 'A\u001b[2J',
      message: 'title \u001b]0;x\u0007 \u009b31m \u202e',
      time: at(-5),
    });
    for (const format of [[], ['-o', 'wide'], ['-o', 'json'], ['-o', 'yaml']]) {
      const { out } = await run(['get', 'events', ...format], {
        api: fakeApi({ listEvents: () => ({ events: [event], nextPageToken: '' }) }),
      });
      assert.match(out, /title/);
      for (const control of '\u001b\u0007\u009b\u202e') assert.ok(!out.includes(control));
    }
    const failing = fakeApi({
      listNodes: () => {
        throw new EvercertError('NotFound', 'no \u001b[31mnode', { metadata: { server: 's' } });
      },
    });
    assert.equal((await run(['get', 'nodes'], { api: failing })).err, 'Error from server (NotFound): no \\u001b[31mnode\n');
  });

  it('refuses what does not apply, with exit code 2', async () => {
    const cases: [string[], RegExp][] = [
      [['get', 'pods'], /doesn't have a resource type "pods": expected one of clusters, nodes/],
      [['get', 'nodes', '-o', 'xml'], /argument 'xml' is invalid. Allowed choices are wide, json, yaml, name/],
      [['get', 'clusters', '-l', 'a=b'], /--selector does not apply to clusters/],
      [['get', 'clusters', '--node', 'x'], /--node does not apply to clusters/],
      [['get', 'nodes', '-l', '=x'], /cannot understand the selector/],
      [['get', 'nodes', '--sort-by', 'a b'], /--sort-by takes a field's path/],
      [['get', 'cas', '-w'], /cas cannot be watched/],
      [['get', 'node/a', 'certificate/b'], /expected node\/NAME/],
      [['get', 'nodes', '--request-timeout', '0s'], /--request-timeout takes a duration of more than zero/],
      [['get', 'nodes', '--context', 'nope'], /no context is named "nope".*choose one of demo, all/],
      [['get'], /missing required argument 'type'/],
    ];
    for (const [args, message] of cases) {
      const { exitCode, err, out } = await run(args, { api: fakeApi({}) });
      assert.equal(exitCode, 2, args.join(' '));
      assert.match(err, /^error: /);
      assert.match(err, message);
      assert.equal(out, '');
    }
  });

  it('tells a server that cannot be reached from one that refuses', async () => {
    const failing = (error: EvercertError) =>
      fakeApi({
        listNodes: () => {
          throw error;
        },
      });
    const metadata = { server: 'coordinator.test:7443' };
    const away = await run(['get', 'nodes'], { api: failing(new EvercertError('Unavailable', 'connection refused', { metadata })) });
    assert.equal(away.exitCode, 7);
    assert.match(away.err, /^Unable to connect to the server coordinator.test:7443: connection refused\n/);
    const refused = await run(['get', 'nodes'], { api: failing(new EvercertError('PermissionDenied', 'not for you', { metadata })) });
    const busy = await run(['get', 'nodes'], {
      api: failing(new EvercertError('Overloaded', 'too many calls', { metadata, retryAfterMs: 1500 })),
    });
    assert.deepEqual([busy.exitCode, busy.err], [7, 'Error from server (Overloaded): too many calls\nTry again in 2s.\n']);
    assert.deepEqual(refused, { exitCode: 3, out: '', err: 'Error from server (PermissionDenied): not for you\n' });
  });

  it('closes its connection whatever happens', async () => {
    const api = fakeApi({});
    await run(['get', 'nodes'], { api });
    assert.equal(api.calls.at(-1)?.method, 'close');
  });
});

describe('evercert get --watch', () => {
  const change = (type: ChangeType, value = cp1): WatchResponse => ({ type, object: { $case: 'node', value } });
  const synced: WatchResponse = { type: ChangeType.SYNCED, object: undefined };
  const renewed = node('cp-1', { role: Role.CONTROL_PLANE, status: { phase: 'Ready', certificates: [ready] } });
  const messages = [change(ChangeType.ADDED), synced, change(ChangeType.MODIFIED, renewed), change(ChangeType.DELETED, renewed)];

  it('prints the list once it is complete, then a line for each change, in the same columns', async () => {
    const api = fakeApi({}, messages);
    const { out, err, exitCode } = await run(['get', 'nodes', '-w'], { api });
    const lines = out.split('\n');
    assert.deepEqual(
      lines.map((text) => text.slice(0, 31).trimEnd()),
      [
        'NAME   ROLE            STATUS',
        'cp-1   control-plane   Expiring',
        'cp-1   control-plane   Ready',
        'cp-1   control-plane   Ready',
        '',
      ],
    );
    assert.equal(lines[2]?.indexOf('60m'), lines[1]?.indexOf('60m'));
    // There is room for the longest phase.
    assert.ok((lines[0]?.indexOf('AGE') ?? 0) >= (lines[0]?.indexOf('STATUS') ?? 0) + 'RenewalFailing'.length + 3);
    assert.deepEqual(api.calls[0], { method: 'watch', request: { cluster: 'demo', resources: ['nodes'] } });
    // The fake's stream ends, which a coordinator's does only when it stops.
    assert.deepEqual([exitCode, err.split(':')[0]], [7, 'Unable to connect to the server coordinator.test']);
  });

  it('has no line for a report that tells nothing new, but all of them where a program reads', async () => {
    const seen = node('cp-1', { ...cp1, status: { ...cp1.status, lastSeenAt: at(-1) } });
    const chatty = [
      change(ChangeType.ADDED),
      synced,
      change(ChangeType.MODIFIED, seen),
      change(ChangeType.MODIFIED, renewed),
      change(ChangeType.MODIFIED, renewed),
    ];
    assert.equal((await run(['get', 'nodes', '-w'], { api: fakeApi({}, chatty) })).out.split('\n').length, 4);
    assert.equal((await run(['get', 'nodes', '-w', '-o', 'name'], { api: fakeApi({}, chatty) })).out.split('\n').length, 5);
  });

  it('says what happened when it is asked to, and streams objects', async () => {
    const { out } = await run(['get', 'nodes', '-w', '--output-watch-events'], { api: fakeApi({}, messages) });
    assert.deepEqual(
      out.split('\n').map((text) => text.split(' ')[0]),
      ['EVENT', 'ADDED', 'MODIFIED', 'DELETED', ''],
    );
    const yaml = await run(['get', 'nodes', '-w', '-o', 'yaml'], { api: fakeApi({}, messages) });
    assert.equal(yaml.out.split('---\n').length, 4);
  });

  it('leaves out what is not selected', async () => {
    const { out } = await run(['get', 'nodes', 'w-1', '-w', '-o', 'name'], {
      api: fakeApi({}, [change(ChangeType.ADDED, w1), ...messages]),
    });
    assert.equal(out, 'node/w-1\n');
  });
});

describe('evercert events', () => {
  const event = (id: string, seconds: number): Event =>
    Event.fromPartial({
      id,
      time: at(seconds),
      cluster: 'demo',
      node: 'cp-1',
      certificate: 'apiserver',
      type: 'Normal',
      reason: 'CertificateIssued',
      message: id,
      actor: 'coordinator',
    });

  it('shows the newest last, and asks for no more than the limit', async () => {
    const api = fakeApi({ listEvents: () => ({ events: [event('new', -5), event('old', -50)], nextPageToken: '' }) });
    const { out } = await run(['events', '--node', 'cp-1', '--reason', 'CertificateIssued', '--limit', '2'], { api });
    assert.equal(
      out,
      'LAST SEEN   TYPE     REASON              OBJECT                       MESSAGE\n' +
        '50s         Normal   CertificateIssued   certificate/cp-1/apiserver   old\n' +
        '5s          Normal   CertificateIssued   certificate/cp-1/apiserver   new\n',
    );
    assert.deepEqual(api.calls[0]?.request, {
      cluster: 'demo',
      node: 'cp-1',
      certificate: '',
      reason: 'CertificateIssued',
      pageSize: 2,
      pageToken: '',
      renewalLog: false,
    });
  });

  it('refuses a limit that is none', async () => {
    for (const limit of ['0', '-1', 'many', '10001']) assert.equal((await run(['events', `--limit=${limit}`])).exitCode, 2);
  });
});
