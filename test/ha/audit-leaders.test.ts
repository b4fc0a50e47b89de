/** The audit log of several coordinators: whoever leads seals it, and all of them have the same. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterSpec, Role } from '@evercert/proto';
import { type AuditSource, verifyAuditLog } from '@evercert/shared/audit';
import { EvercertError } from '@evercert/shared/errors';
import { certificatesFromPem } from '@evercert/shared/x509';
import { entriesIn } from '../support/audit-sealing.ts';
import { Coordinators } from '../support/coordinators.ts';
import { until } from '../support/live.ts';

const cluster = 'demo';
const rounds = 3;

describe('the audit log of two coordinators whose leaders are killed', function () {
  this.timeout(240_000);
  let coordinators: Coordinators;
  let folder: string;

  before(async function () {
    if (!Coordinators.possible()) return this.skip();
    folder = mkdtempSync(join(tmpdir(), 'evercert-audit-ha-'));
    const config = {
      leadership: { leaseTtl: '3s' },
      shutdownGrace: '2s',
      audit: { checkpointInterval: '1s', directory: join(folder, 'audit') },
    };
    coordinators = await Coordinators.start({ count: 2, etcd: { members: 1 }, config });
  });
  after(async () => {
    await coordinators?.dispose();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  const exported = async (index: number): Promise<string> => {
    const { client } = await coordinators.admin(index);
    let text = '';
    for await (const { lines } of client.exportAudit({ fromSequence: 0, follow: false })) text += Buffer.from(lines).toString();
    return text;
  };
  const sourceOf = (name: string, text: string): AuditSource => ({ name, bytes: [Buffer.from(text)] as never });

  it('is one chain with every event once, the same at both, and so are the files that each wrote while it led', async () => {
    let leader = await coordinators.untilLeading();
    const first = await coordinators.admin(leader);
    await first.createCluster(cluster, ClusterSpec.fromPartial({ nodeAddressRanges: ['127.0.0.0/8'] }));
    const made: string[] = [];
    for (let round = 0; round < rounds; round++) {
      const other = 1 - leader;
      const admin = await coordinators.admin(other);
      for (let i = 0; i < 40; i++) {
        // Some are lost with their coordinator's etcd connection: what was not answered is not counted on.
        const token = await admin
          .createToken(cluster, { name: `n-${round}-${i}`, role: Role.WORKER, addresses: [] })
          .catch((error: unknown) => {
            assert.ok(error instanceof EvercertError);
            return undefined;
          });
        if (token) made.push(token.token.slice(0, 6));
        if (i === 20) await coordinators.all[leader]?.process.kill();
      }
      await until('the other to lead', 30_000, async () => (await coordinators.untilLeading()) === other);
      await coordinators.all[leader]?.start();
      leader = other;
    }
    const texts = [await exported(0), await exported(1)];
    const anchors = certificatesFromPem(readFileSync(join(coordinators.all[0]?.adminDir ?? '', 'ca.crt')));
    const files = readdirSync(join(folder, 'audit')).map((name) => sourceOf(name, readFileSync(join(folder, 'audit', name), 'utf8')));
    const report = await verifyAuditLog([sourceOf('one', texts[0] ?? ''), sourceOf('other', texts[1] ?? ''), ...files], {
      anchors,
      partial: false,
    });
    assert.deepEqual(report.faults, []);
    assert.deepEqual(report.notes, []);
    const entries = entriesIn(texts[1] ?? '');
    const told = entries.filter(({ event }) => event.reason === 'TokenCreated').map(({ event }) => event.details?.['tokenId'] ?? '');
    assert.equal(new Set(told).size, told.length, 'no token is told of twice');
    assert.deepEqual(
      made.filter((id) => !told.includes(id)),
      [],
      'none that was given out is left out',
    );
    const ids = entries.map(({ event }) => `${event.cluster ?? ''}/${event.id}`);
    assert.equal(new Set(ids).size, ids.length);
    assert.ok(entries.filter(({ event }) => event.reason === 'LeadershipTaken').length > rounds);
  });
});
