import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ActionJournal, MachineHost, type MachineKeeper, type MachineOrder, type MachineView } from '@evercert/local';
import { EvercertError } from '@evercert/shared/errors';

/** Keeps names alone; fails where it is told to. */
class FakeKeeper implements MachineKeeper {
  readonly machines = new Map<string, MachineView>();
  readonly acts: string[] = [];
  failing = false;

  list(): MachineView[] {
    return [...this.machines.values()];
  }

  async create({ name }: MachineOrder): Promise<string> {
    this.#act(`create ${name}`);
    this.machines.set(name, { name, role: 'worker', addresses: [], pid: 1, folder: '/' });
    return `${name} made`;
  }

  async remove(name: string): Promise<string> {
    this.#act(`remove ${name}`);
    this.machines.delete(name);
    return `${name} removed`;
  }

  #act(what: string): void {
    if (this.failing) throw new EvercertError('Unavailable', 'not now');
    this.acts.push(what);
  }
}

describe('the host of machines, action by action', () => {
  let folder: string;
  let keeper: FakeKeeper;
  let host: MachineHost;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-host-'));
    keeper = new FakeKeeper();
    keeper.machines.set('cp-1', { name: 'cp-1', role: 'control-plane', addresses: [], pid: 1, folder: '/' });
    await open();
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function open(): Promise<void> {
    host = new MachineHost({ cluster: 'demo', keeper, journal: await ActionJournal.open(join(folder, 'machines.json')) });
  }

  const action = (idempotencyKey: string, name = 'worker-1') => ({ cluster: 'demo', idempotencyKey, name });
  const order = (idempotencyKey: string, name = 'worker-1') => ({
    ...action(idempotencyKey, name),
    addresses: [],
    join: { token: 't', endpoints: ['127.0.0.1:1'], caPins: ['p'] },
  });

  it('does each action once for its key and tells the same outcome again', async () => {
    const outcomes = [
      await host.create(order('c')),
      await host.create(order('c')),
      await host.remove(action('r')),
      await host.remove(action('r')),
    ];
    assert.deepEqual(outcomes, ['worker-1 made', 'worker-1 made', 'worker-1 removed', 'worker-1 removed']);
    assert.deepEqual(keeper.acts, ['create worker-1', 'remove worker-1']);
  });

  it('does them one after the other, also when they come at once', async () => {
    await Promise.all([host.create(order('c')), host.remove(action('r')), host.create(order('c2'))]);
    assert.deepEqual(keeper.acts, ['create worker-1', 'remove worker-1', 'create worker-1']);
  });

  it('goes on with what failed when its key comes again', async () => {
    keeper.failing = true;
    await assert.rejects(host.create(order('c')), { code: 'Unavailable' });
    keeper.failing = false;
    await host.create(order('c'));
    assert.deepEqual(keeper.acts, ['create worker-1']);
  });

  it('leaves a later machine alone when an old key comes again, whether its action was done or had failed', async () => {
    await host.create(order('c'));
    keeper.failing = true;
    await assert.rejects(host.remove(action('r')), { code: 'Unavailable' });
    keeper.failing = false;
    await host.remove(action('r2'));
    await host.create(order('c2'));
    assert.match(await host.remove(action('r')), /not there any more/);
    assert.ok(keeper.machines.has('worker-1'));
  });

  it('knows its keys after it was opened again', async () => {
    await host.create(order('c'));
    await host.remove(action('r'));
    await open();
    assert.equal(await host.create(order('c')), 'worker-1 made');
    assert.deepEqual(
      keeper.list().map(({ name }) => name),
      ['cp-1'],
    );
  });

  it('never removes a control-plane node', async () => {
    await assert.rejects(host.remove(action('r', 'cp-1')), { code: 'FailedPrecondition', message: /never removed: repair it/ });
  });

  it('refuses everything once it is closed', async () => {
    await host.close();
    await assert.rejects(host.remove(action('r')), { code: 'Unavailable' });
  });
});
