import assert from 'node:assert/strict';
import { debianRoot, needMachines } from './debian.ts';
import { Machine, sourceInside } from './machine.ts';

const admin = ['evercert', '--config', '/var/lib/evercert/admin/config.yaml', '--cluster', 'demo'];

/** What a daemon logged at a level, of the JSON lines in the journal. */
async function logged(machine: Machine, unit: string, level: string): Promise<string[]> {
  const journal = await machine.run('journalctl', '-u', unit, '--no-pager', '-o', 'cat');
  return journal.split('\n').filter((line) => line.includes(`"level":"${level}"`));
}

describe('coordinator and agent as systemd services', function () {
  this.timeout(120_000);
  let machine: Machine;

  before(async function () {
    this.timeout(900_000);
    needMachines(this);
    machine = await Machine.boot(await debianRoot());
    // Debian's installer writes this file; debootstrap does not.
    await machine.write('/etc/hosts', '127.0.0.1 localhost\n::1 localhost\n');
    for (const part of ['coordinator', 'agent']) await machine.run(`${sourceInside}/deploy/install.sh`, part);
  });

  after(async () => {
    await machine?.powerOff();
  });

  it('start the coordinator, which says when it is ready', async () => {
    await machine.write('/etc/evercert/coordinator.yaml', 'listen: 127.0.0.1:7443\nserverNames: [localhost, 127.0.0.1]\n');
    await machine.run(
      'sh',
      '-c',
      'mkdir -p /etc/credstore && umask 077 && head -c 32 /dev/urandom | base64 > /etc/credstore/ca-passphrase',
    );
    await machine.run('systemctl', 'enable', '--now', 'evercert-coordinator');
    assert.equal(await machine.property('evercert-coordinator', 'ActiveState'), 'active');
    assert.notEqual(await machine.property('evercert-coordinator', 'StatusText'), '');
  });

  it('run the coordinator as its own user, with the passphrase from the credential', async () => {
    const pid = await machine.property('evercert-coordinator', 'MainPID');
    assert.equal((await machine.run('stat', '-c', '%U', `/proc/${pid}`)).trim(), 'evercert');
    assert.equal((await machine.run('stat', '-c', '%a %U', '/var/lib/evercert')).trim(), '700 evercert');
    const files = await machine.run('find', '/var/lib/evercert', '-iname', '*passphrase*');
    assert.equal(files, '', 'no passphrase beside the keys');
  });

  it('start the agent, which joins and installs every certificate', async () => {
    await machine.run(...admin, 'cluster', 'create', 'demo');
    const token = ['token', 'create', '--role', 'control-plane', '--node-name', 'cp-1', '--address', '192.0.2.11'];
    await machine.write('/etc/evercert-agent/agent.yaml', await machine.run(...admin, ...token, '--print-agent-config'));
    await machine.run('systemctl', 'enable', '--now', 'evercert-agent');
    assert.equal(await machine.property('evercert-agent', 'ActiveState'), 'active');
    await machine.until('evercert-agent', 'the node is Ready', async () => / Ready /.test(await machine.run(...admin, 'get', 'nodes')));
    const modes = await machine.run('stat', '-L', '-c', '%a %U', '/etc/kubernetes/pki/apiserver.key', '/etc/kubernetes/pki/apiserver.crt');
    assert.deepEqual(modes.trim().split('\n'), ['600 root', '644 root']);
    await machine.run('evercert', 'certs', 'check', '/etc/kubernetes/pki');
  });

  it('answer evercert-agent status', async () => {
    assert.match(await machine.run('evercert-agent', 'status'), /apiserver/);
  });

  it('log no error and no warning on the way, and systemd none either', async () => {
    for (const unit of ['evercert-coordinator', 'evercert-agent']) {
      assert.deepEqual([await logged(machine, unit, 'error'), await logged(machine, unit, 'warn')], [[], []], unit);
    }
    assert.equal((await machine.run('journalctl', '-p', 'err', '-b', '-t', 'systemd', '--no-pager', '-q', '-o', 'cat')).trim(), '');
    assert.equal((await machine.run('systemctl', '--failed', '--no-legend')).trim(), '');
  });

  it('put a deleted file back from within the sandbox', async () => {
    await machine.run('rm', '/etc/kubernetes/pki/apiserver.crt');
    await machine.until(
      'evercert-agent',
      'the file is back',
      async () => (await machine.tryRun('test', '-s', '/etc/kubernetes/pki/apiserver.crt')).status === 0,
      5000,
    );
  });

  it('let the agent write other owners and reload a unit from within the sandbox', async () => {
    await machine.write(
      '/etc/systemd/system/consumer.service',
      '[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/touch /run/consumer-reloaded\n',
    );
    await machine.run('sh', '-c', 'systemctl daemon-reload && systemctl start consumer');
    await machine.write(
      '/root/manifest.yaml',
      `apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: consumer }
spec:
  issuer: cluster-ca
  subject: { commonName: consumer }
  dnsNames: [consumer]
  usages: [digital signature, server auth]
  files:
    certificate: /etc/evercert/certificates/consumer.crt
    privateKey: { path: /etc/evercert/certificates/consumer.key, mode: "0640", group: daemon }
  reload: { systemd: { unit: consumer.service, action: reload } }
`,
    );
    await machine.run(...admin, 'apply', '-f', '/root/manifest.yaml');
    await machine.until(
      'evercert-agent',
      'the unit is reloaded',
      async () => (await machine.tryRun('test', '-e', '/run/consumer-reloaded')).status === 0,
    );
    assert.equal((await machine.run('stat', '-L', '-c', '%a %G', '/etc/evercert/certificates/consumer.key')).trim(), '640 daemon');
  });

  for (const part of ['coordinator', 'agent']) {
    const unit = `evercert-${part}`;

    it(`kill the ${part} by the watchdog when it hangs, and start it again`, async () => {
      await machine.run('mkdir', '-p', `/run/systemd/system/${unit}.service.d`);
      await machine.write(`/run/systemd/system/${unit}.service.d/watchdog.conf`, '[Service]\nWatchdogSec=4s\nRestartSec=1s\n');
      await machine.run('sh', '-c', `systemctl daemon-reload && systemctl restart ${unit} && sleep 9`);
      assert.equal(await machine.property(unit, 'NRestarts'), '0', 'a healthy daemon feeds the watchdog');
      await machine.run('systemctl', 'kill', '--kill-whom=main', '--signal=SIGSTOP', unit);
      const isBack = async (): Promise<boolean> =>
        (await machine.property(unit, 'NRestarts')) === '1' && (await machine.property(unit, 'ActiveState')) === 'active';
      await machine.until(unit, 'it was started again', isBack);
      assert.match(await machine.run('journalctl', '-u', unit, '--no-pager', '-o', 'cat'), /Watchdog timeout/);
    });
  }

  it('come back by themselves after a kill, and find each other again', async () => {
    await machine.run('systemctl', 'kill', '--signal=SIGKILL', 'evercert-coordinator', 'evercert-agent');
    for (const unit of ['evercert-coordinator', 'evercert-agent']) {
      await machine.until(unit, 'it is active again', async () => (await machine.property(unit, 'ActiveState')) === 'active');
    }
    const isReady = async (): Promise<boolean> => / Ready /.test((await machine.tryRun(...admin, 'get', 'nodes')).stdout);
    await machine.until('evercert-agent', 'the node is Ready again', isReady);
  });

  it('stop in order and at once', async () => {
    await machine.run('systemctl', 'stop', 'evercert-agent', 'evercert-coordinator');
    for (const unit of ['evercert-coordinator', 'evercert-agent']) {
      assert.deepEqual([await machine.property(unit, 'Result'), await machine.property(unit, 'ExecMainStatus')], ['success', '0'], unit);
    }
  });
});
