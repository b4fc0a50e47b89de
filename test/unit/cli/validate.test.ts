import assert from 'node:assert/strict';
import { validateSources } from '@evercert/cli';
import { run } from './support.ts';

const manifest = (name: string, path: string): string => `apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: ${name} }
spec:
  issuer: cluster-ca
  subject: { commonName: web }
  dnsNames: [web.example]
  usages: [digital signature, server auth]
  files: { certificate: ${path}.crt, privateKey: ${path}.key }
`;
const good = manifest('web', '/etc/kubernetes/pki/web');

describe('evercert validate', () => {
  const validate = (stdin: string, ...args: string[]) => run(['validate', '-f', '-', ...args], { stdin, env: {} });

  it('names what is valid, without a contexts file or a coordinator', async () => {
    assert.deepEqual(await validate(good), { exitCode: 0, out: 'certificatemanifest/web valid\n', err: '' });
  });

  it('prints every fault with its line, and exits with 2', async () => {
    const { exitCode, out, err } = await validate(good.replace('cluster-ca', 'my-ca').replace('dnsNames', 'dnsnames'));
    assert.deepEqual([exitCode, out], [2, '']);
    assert.match(err, /^-:5:11: spec\.issuer: expected one of "cluster-ca", "etcd-ca", "front-proxy-ca"/m);
    assert.match(err, /^-:7:3: spec\.dnsnames: unknown key "dnsnames"; did you mean "dnsNames"/m);
    assert.match(err, /\nerror: not valid: 2 faults\n$/);
  });

  it('prints the parsed objects or the faults as JSON', async () => {
    const valid = JSON.parse((await validate(good, '-o', 'json')).out);
    assert.deepEqual([valid.valid, valid.faults, valid.documents.length], [true, [], 1]);
    const [{ file, line, object }] = valid.documents;
    assert.deepEqual([file, line, object.kind, object.spec.subject.commonName], ['-', 1, 'CertificateManifest', 'web']);
    const invalid = await validate('kind: Nothing\n', '-o', 'json');
    assert.equal(invalid.exitCode, 2);
    const { valid: isValid, faults } = JSON.parse(invalid.out);
    assert.equal(isValid, false);
    assert.deepEqual(
      faults.map((fault: { line: number; field: string }) => [fault.line, fault.field]),
      [
        [1, 'apiVersion'],
        [1, 'kind'],
      ],
    );
  });

  it('checks the documents of a cluster together, under the policy that they declare', () => {
    const outside = manifest('other', '/srv/tls/other');
    const policy = 'apiVersion: evercert.io/v1\nkind: Cluster\nmetadata: { name: example }\nspec: { allowedPaths: [/srv/tls] }\n';
    const faultsOf = (...texts: string[]) => validateSources(texts.map((text, at) => ({ name: `${at}.yaml`, text }))).faults;
    assert.match(faultsOf(outside)[0]?.message ?? '', /\/srv\/tls/);
    assert.deepEqual(faultsOf(outside, policy), []);
    const twice = faultsOf(good, manifest('again', '/etc/kubernetes/pki/web'));
    assert.equal(twice[0]?.file, '1.yaml');
  });

  it('finds nothing in an empty file', async () => {
    const { exitCode, err } = await validate('---\n');
    assert.deepEqual([exitCode, err], [2, '-: no document found\nerror: not valid: one fault\n']);
  });
});

describe('evercert help and version', () => {
  it('shows examples for every command', async () => {
    for (const args of [
      ['get'],
      ['describe'],
      ['events'],
      ['apply'],
      ['diff'],
      ['delete'],
      ['cluster', 'create'],
      ['token', 'create'],
      ['renew'],
      ['cordon'],
      ['replacement'],
      ['validate'],
      ['certs', 'check'],
      ['config'],
      ['completion'],
      ['version'],
      [],
    ]) {
      const { exitCode, out } = await run([...args, '--help']);
      assert.equal(exitCode, 0);
      assert.match(out, /\nExamples:\n/, args.join(' '));
    }
  });

  it('tells its version without a coordinator', async () => {
    assert.match((await run(['version', '--client'], { env: {} })).out, /^Client Version: \d+\.\d+\.\d+\n$/);
    assert.match((await run(['--version'], { env: {} })).out, /^\d+\.\d+\.\d+\n$/);
  });

  it('treats wrong usage as such, with exit code 2 and the nearest command', async () => {
    const { exitCode, err } = await run(['discribe']);
    assert.equal(exitCode, 2);
    assert.match(err, /unknown command 'discribe'\n\(Did you mean describe\?\)/);
    assert.equal((await run(['get', 'nodes', '--wach'])).exitCode, 2);
    assert.equal((await run([])).exitCode, 2);
  });
});
