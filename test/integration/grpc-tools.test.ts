import assert from 'node:assert/strict';
import { join } from 'node:path';
import { AdminServiceService, EnrollmentServiceService, NodeServiceService, RecoveryServiceService } from '@evercert/proto';
import { startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { repositoryRoot, run } from '../support/tools.ts';

const services: Record<string, { path: string }>[] = [
  { ...EnrollmentServiceService },
  { ...NodeServiceService },
  { ...RecoveryServiceService },
  { ...AdminServiceService },
];

describe('the usual gRPC tools', () => {
  let coordinator: TestCoordinator;
  const buf = join(repositoryRoot, 'node_modules', '.bin', 'buf');

  const curl = (args: string[], asAdmin: boolean) => {
    const file = (name: string): string => join(coordinator.dataDir, 'admin', name);
    const credential = asAdmin ? ['--cert', file('admin.crt'), '--key', file('admin.key')] : [];
    return run(buf, ['curl', '--protocol', 'grpc', '--cacert', file('ca.crt'), ...credential, ...args]);
  };
  const url = (path: string): string => `https://localhost:${coordinator.port}${path}`;

  before(async () => {
    coordinator = await startTestCoordinator();
  });
  after(() => coordinator.dispose());

  it('find and call every service by reflection with an admin credential', async () => {
    const listed = await curl(['--reflect', '--list-methods', url('')], true);
    for (const path of services.flatMap((service) => Object.values(service).map((method) => method.path.slice(1))))
      assert.ok(listed.stdout.split('\n').includes(path), `${path} is listed`);
    const called = await curl(['--reflect', url('/evercert.v1.AdminService/GetServerInfo'), '-d', '{}'], true);
    assert.equal(JSON.parse(called.stdout).identity, 'admin/admin');
  });

  it('get no reflection without one', async () => {
    const { status, stdout } = await curl(['--reflect', '--list-methods', url('')], false);
    assert.notEqual(status, 0);
    assert.equal(stdout, '');
  });

  it('are told the health by anybody', async () => {
    const schema = join(repositoryRoot, 'node_modules', 'grpc-health-check', 'proto');
    const names = services.map((service) => Object.values(service)[0]!.path.split('/')[1]!);
    for (const service of ['', ...names]) {
      const body = JSON.stringify({ service });
      const { stdout, stderr } = await curl(['--schema', schema, url('/grpc.health.v1.Health/Check'), '-d', body], false);
      assert.equal(JSON.parse(stdout || '{}').status, 'SERVING', stderr);
    }
  });
});
