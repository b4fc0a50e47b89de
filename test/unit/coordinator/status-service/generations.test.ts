import assert from 'node:assert/strict';
import type { StatusService } from '@evercert/coordinator/status-service';
import { type CrlInfo, parseCrl, verifyCrl } from '@evercert/shared/x509';
import { eventually, StatusWorld, served, statusCluster } from '../../../support/status-service.ts';
import { hourMs, startMs } from '../../shared/x509/fixtures.ts';

describe('the CRLs of a CA with another key', () => {
  let world: StatusWorld;
  let service: StatusService;
  let first: string;
  let second: string;
  let before: string;
  let after: string;
  const lastEnd = startMs + 96 * hourMs;

  const record = () => world.cas.get('etcd-ca')!.record;
  const listOf = (serial?: string): CrlInfo | undefined => {
    const crl = service.lists.get(statusCluster, 'etcd-ca', serial);
    return crl && parseCrl(crl.der);
  };
  const serials = (list: CrlInfo | undefined): string[] | undefined => list?.revoked.map(({ serial }) => serial).sort();
  const inFiles = (): CrlInfo[] => {
    const { der, earlier } = service.lists.forFiles(statusCluster, 'etcd-ca')!;
    return [der, ...earlier].map((each) => parseCrl(each));
  };
  const signedBy = async (der: Buffer, serial: string): Promise<void> => await verifyCrl(der, world.keys.get(serial)!.der);

  beforeEach(async () => {
    world = new StatusWorld();
    await world.open('etcd-ca');
    service = await world.service();
    first = record().serial;
    before = await world.issued('etcd-ca');
    world.revoke('etcd-ca', before);
    await eventually(() => listOf()?.revoked.length === 1, 'the list before');
    await world.rotate('etcd-ca', lastEnd);
    second = record().serial;
    after = await world.issued('etcd-ca');
    world.revoke('etcd-ca', after);
    await eventually(() => listOf(second)?.revoked.length === 1 && inFiles()[0]?.revoked.length === 2, 'the lists after');
  });
  afterEach(() => world.dispose());

  it('are one of each key, each with what that key signed', async () => {
    assert.deepEqual([serials(listOf(first)), serials(listOf(second))], [[before], [after]]);
    await signedBy(service.lists.get(statusCluster, 'etcd-ca', first)!.der, first);
    await signedBy(service.lists.get(statusCluster, 'etcd-ca', second)!.der, second);
    assert.equal(service.lists.get(statusCluster, 'etcd-ca', 'ab'), undefined);
  });

  it('go on under the old name with the first key, whose certificates name no other', () => {
    assert.deepEqual(serials(listOf()), [before]);
  });

  it('go on from the numbers before', () => {
    assert.ok(listOf(second)!.number! > listOf(first)!.number!);
  });

  it('are all in files, the first by the present key and of all that is revoked: who reads that alone compares serial numbers', async () => {
    const [newest, old, ...more] = inFiles();
    assert.deepEqual([serials(newest), serials(old), more.length], [[before, after].sort(), [before], 0]);
    const files = service.lists.forFiles(statusCluster, 'etcd-ca')!;
    await signedBy(files.der, second);
    await signedBy(files.earlier[0]!, first);
    assert.equal(served(service).number, listOf()!.number);
  });

  it('list at once what is revoked of the old key', async () => {
    const serial = await world.issued('etcd-ca');
    // As if it had been signed before.
    world.revoked.push({ issuer: 'etcd-ca', serial, issuerSerial: first, reason: 'superseded', revokedAtMs: 0, notAfterMs: lastEnd });
    world.announce();
    await eventually(() => listOf(first)?.revoked.length === 2 && inFiles()[0]?.revoked.length === 3, 'both lists');
    assert.equal(listOf(second)?.revoked.length, 1);
  });

  it('outlive a restart, each the same to the byte', async () => {
    const held = [first, second].map((serial) => service.lists.get(statusCluster, 'etcd-ca', serial));
    const files = service.lists.forFiles(statusCluster, 'etcd-ca');
    await service.stop();
    service = await world.service();
    assert.deepEqual(
      [first, second].map((serial) => service.lists.get(statusCluster, 'etcd-ca', serial)),
      held,
    );
    assert.deepEqual(service.lists.forFiles(statusCluster, 'etcd-ca'), files);
  });

  it('of the old key are gone when its last certificate has ended, and the old name is the present key’s', async () => {
    await world.clock.advance(96 * hourMs);
    await eventually(() => listOf(first) === undefined && inFiles().length === 1, 'one list');
    assert.deepEqual(serials(listOf()), serials(listOf(second)));
    const heads = async (): Promise<string[]> =>
      (await world.store.range({ prefix: `/evercert/v1/crls/${statusCluster}/` })).entries.map(({ key }) => key.split('/').at(-1)!);
    await eventually(async () => {
      await world.clock.advance(1);
      return (await heads()).length === 1;
    }, 'one list in the store');
    assert.deepEqual(await heads(), [`etcd-ca@${second}`]);
    assert.equal((await world.store.range({ prefix: `/evercert/v1/crl-parts/${statusCluster}/etcd-ca@files/` })).entries.length, 0);
  });

  it('are one of each of three keys', async () => {
    await world.rotate('etcd-ca', lastEnd + hourMs);
    const third = record().serial;
    await eventually(() => listOf(third) !== undefined && inFiles().length === 3, 'three lists');
    assert.deepEqual([serials(listOf(first)), serials(listOf(second)), serials(listOf(third))], [[before], [after], []]);
    assert.deepEqual(inFiles().map(serials), [[before, after].sort(), [after], [before]]);
  });
});
