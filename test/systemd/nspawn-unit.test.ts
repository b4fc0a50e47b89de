import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { debianRoot, makeImage, needMachines } from './debian.ts';
import { Machine, sourceInside } from './machine.ts';
import { NspawnFixture } from './nspawn-fixture.ts';

const coordinatorYaml = `
listen: 127.0.0.1:7443
serverNames: [localhost, 127.0.0.1]
provisioners:
  machines: { type: nspawn, image: /srv/image }
`;
/** As the command line prints it; nobody has made the token, so that the machine never joins. */
const agentYaml = `
coordinator: { endpoints: ["127.0.0.1:7443"], caPins: ["sha256:${'0'.repeat(64)}"] }
node: { name: w1 }
token: abcdef.0123456789abcdef
`;
const machineUnit = 'evercert-machine-demo.w1';

describe('machines of a coordinator that is a systemd service', function () {
  this.timeout(120_000);
  let fixture: NspawnFixture;
  let host: Machine;

  before(async function () {
    this.timeout(900_000);
    needMachines(this);
    fixture = new NspawnFixture();
    await makeImage(fixture.image);
    // Not on the overlay, which is in memory.
    const machines = join(fixture.folder, 'of-host');
    mkdirSync(machines);
    const shared = [`--bind-ro=${fixture.image}:/srv/image`, `--bind=${machines}:/var/lib/evercert-machines`, '--capability=all'];
    host = await Machine.boot(await debianRoot('systemd-container'), ...shared);
    await host.write('/etc/hosts', '127.0.0.1 localhost\n');
    await host.run(`${sourceInside}/deploy/install.sh`, 'coordinator');
    await host.write('/etc/evercert/coordinator.yaml', coordinatorYaml);
    await host.write('/etc/agent.yaml', agentYaml);
    await dropIn('evercert-coordinator');
    await host.run('systemctl', 'start', 'evercert-coordinator');
  });

  after(async () => {
    await host?.powerOff();
    fixture?.dispose();
    assert.deepEqual(fixture?.leftovers() ?? [], []);
  });

  async function dropIn(unit: string): Promise<void> {
    const target = `/etc/systemd/system/${unit}.service.d/nspawn.conf`;
    await host.run('install', '-D', '-m', '0644', `${sourceInside}/deploy/nspawn/coordinator.conf`, target);
  }

  /** Does one action within the coordinator's own unit, sandbox and all: only what it runs and how is changed. */
  async function act(...action: string[]): Promise<string> {
    const unit = readFileSync(join(import.meta.dirname, '../../deploy/systemd/evercert-coordinator.service'), 'utf8')
      .replace(/^Type=.*$/m, 'Type=oneshot\nStandardInput=file:/etc/agent.yaml')
      .replace(/^(?:Restart|WatchdogSec)=.*$/gm, '')
      .replace(
        /^ExecStart=.*$/m,
        `ExecStart=/usr/bin/evercert-coordinator machine ${action.join(' ')} --provisioner machines --cluster demo`,
      );
    await host.write('/etc/systemd/system/act.service', unit);
    await dropIn('act');
    await host.run('systemctl', 'daemon-reload');
    const { status } = await host.tryRun('systemctl', 'start', 'act');
    const journal = await host.run('journalctl', '-u', 'act', '--no-pager', '-o', 'cat');
    assert.equal(status, 0, journal);
    return journal;
  }

  it("are units of their own, made from within the coordinator's sandbox", async () => {
    assert.match(await act('create'), /machine demo\.w1 has booted/);
    assert.equal(await host.property(machineUnit, 'ActiveState'), 'active');
  });

  it('live on when the coordinator is started anew', async () => {
    const pid = await host.property(machineUnit, 'MainPID');
    await host.run('systemctl', 'restart', 'evercert-coordinator');
    assert.equal(await host.property('evercert-coordinator', 'ActiveState'), 'active');
    assert.equal(await host.property(machineUnit, 'MainPID'), pid);
  });

  it('come back when they reboot themselves', async () => {
    assert.equal(await host.property(machineUnit, 'NRestarts'), '0');
    const init = `$(cat /proc/$(systemctl show --value -p MainPID ${machineUnit})/task/*/children)`;
    await host.run('sh', '-c', `nsenter -t ${init} -m -p -u -i -n -C -- systemctl reboot`);
    await host.until(machineUnit, 'it is started again', async () => (await host.property(machineUnit, 'NRestarts')) === '1');
    assert.equal(await host.property(machineUnit, 'ActiveState'), 'active');
  });

  it('go with their unit and their folder', async () => {
    assert.match(await act('remove', '--node', 'w1'), /machine demo\.w1 was powered off, and is deleted/);
    assert.equal(await host.property(machineUnit, 'LoadState'), 'not-found');
    assert.equal(
      await host.run('ls', '-A', '/var/lib/evercert-machines/machines', '/run/systemd/nspawn/propagate'),
      '/run/systemd/nspawn/propagate:\n\n/var/lib/evercert-machines/machines:\n',
    );
  });
});
