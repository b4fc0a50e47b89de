import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { provisionersSchema } from '@evercert/coordinator/provisioning';
import { hostName, Journal, machineName } from '@evercert/coordinator/provisioning/nspawn';
import fc from 'fast-check';

describe('the configuration of the provisioner nspawn', () => {
  const faultOf = (settings: object): string | undefined => {
    const result = provisionersSchema.safeParse({ machines: { type: 'nspawn', image: '/srv/image', ...settings } });
    return result.success ? undefined : result.error.issues.map(({ path, message }) => `${path.slice(1).join('.')}: ${message}`).join('; ');
  };

  it('needs an image and nothing else', () => {
    assert.deepEqual(provisionersSchema.parse({ machines: { type: 'nspawn', image: '/srv/image' } })['machines'], {
      type: 'nspawn',
      image: '/srv/image',
      machinesDir: '/var/lib/evercert-machines/machines',
      network: 'host',
      agent: {},
      bootTimeout: 120_000,
      stopTimeout: 30_000,
    });
  });

  it('refuses what systemd-nspawn would understand otherwise', () => {
    for (const image of ['srv/image', '/srv/a:b', '/srv/a b', '/srv/../etc', '/', '/srv/image/'])
      assert.match(faultOf({ image }) ?? '', /^image: /, image);
    for (const bridge of ['', '-x', 'a b', 'a'.repeat(16)]) assert.match(faultOf({ network: { bridge } }) ?? '', /^network/, bridge);
  });

  it('takes a gateway only within the subnets', () => {
    const subnets = ['10.77.0.0/24', 'fd00:77::/64'];
    for (const gateway of ['10.77.0.1', 'fd00:77::1']) assert.equal(faultOf({ network: { bridge: 'br0', subnets, gateway } }), undefined);
    assert.match(faultOf({ network: { bridge: 'br0', subnets, gateway: '10.78.0.1' } }) ?? '', /network/);
    assert.match(faultOf({ network: { bridge: 'br0', gateway: '10.77.0.1' } }) ?? '', /network/);
  });

  it("leaves the driver's own settings of the agent to the driver", () => {
    assert.equal(faultOf({ agent: { scanInterval: '10s', log: { level: 'debug' } } }), undefined);
    for (const key of ['coordinator', 'node', 'token', 'tokenFile'])
      assert.match(faultOf({ agent: { [key]: 'x' } }) ?? '', /the driver's to set/);
  });
});

describe('names of machines', () => {
  const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
  const node = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) =>
    labels
      .join('.')
      .slice(0, 253)
      .replace(/[.-]+$/, ''),
  );

  it('are host names of 64 characters at most, and so is what the machine is called inside', () => {
    fc.assert(
      fc.property(label, node, (cluster, name) => {
        for (const each of [machineName(cluster, name), hostName(name)])
          assert.match(each, /^(?=.{1,64}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/);
      }),
    );
  });

  it('differ where cluster or node does', () => {
    fc.assert(
      fc.property(label, node, label, node, (cluster, name, otherCluster, otherName) => {
        const same = cluster === otherCluster && name === otherName;
        assert.equal(machineName(cluster, name) === machineName(otherCluster, otherName), same);
      }),
    );
    const long = 'a'.repeat(60);
    assert.notEqual(machineName('demo', `${long}.one`), machineName('demo', `${long}.two`));
    assert.notEqual(machineName('a', 'b.c'), machineName('a-b', 'c'));
  });
});

describe('the journal of done actions', () => {
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-journal-'));
    path = join(folder, 'done.jsonl');
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  it('tells what was done, also to the next process', async () => {
    const journal = new Journal(path);
    assert.equal(await journal.outcome('rp-1'), undefined);
    await Promise.all([journal.add('rp-1', 'made'), journal.add('rp-2', 'a line\nand another')]);
    for (const each of [journal, new Journal(path)]) {
      assert.deepEqual(
        [await each.outcome('rp-1'), await each.outcome('rp-2'), await each.outcome('rp-3')],
        ['made', 'a line\nand another', undefined],
      );
    }
  });

  it('takes an action whose line was cut short for one that was not done, and goes on', async () => {
    await new Journal(path).add('rp-1', 'made');
    appendFileSync(path, '{"key":"rp-2","mess');
    const journal = new Journal(path);
    await journal.add('rp-3', 'removed');
    const next = new Journal(path);
    assert.deepEqual([await next.outcome('rp-1'), await next.outcome('rp-2'), await next.outcome('rp-3')], ['made', undefined, 'removed']);
  });

  it('keeps the last 4096 and no file of more than twice as many', async () => {
    appendFileSync(path, Array.from({ length: 9000 }, (_, at) => `${JSON.stringify({ key: `rp-${at}`, message: '' })}\n`).join(''));
    const journal = new Journal(path);
    await journal.add('rp-new', 'made');
    assert.equal(readFileSync(path, 'utf8').trim().split('\n').length, 4096);
    assert.deepEqual([await journal.outcome('rp-4904'), await journal.outcome('rp-4905')], [undefined, '']);
    assert.equal(await new Journal(path).outcome('rp-new'), 'made');
  });
});
