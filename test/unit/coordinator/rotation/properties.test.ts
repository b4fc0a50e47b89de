import assert from 'node:assert/strict';
import { type CertificateRecord, decodeRecord, layout } from '@evercert/coordinator';
import { type AuthorityRecord, generationsOf } from '@evercert/coordinator/ca';
import { hasEnded } from '@evercert/coordinator/rotation';
import fc from 'fast-check';
import { admin, type BenchNode, cluster, RotationBench } from '../../../support/rotation-bench.ts';

const names = ['cp-1', 'cp-2', 'w-1', 'w-2'];
const places = ['preparing', 'spreading', 'activating', 'reissuing', 'retiring', 'abort-reissuing', 'abort-retiring'].flatMap((stage) =>
  ['begun', 'acted', 'done'].map((what) => `rotation-${stage}-${what}`),
);

const node = fc.constantFrom(...names);
const operation = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('look' as const) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('trust' as const, 'renew' as const, 'say' as const, 'obey' as const), node }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('obeyAll' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1000, 20_000, 90_000, 1200_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('off' as const, 'on' as const), node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), at: fc.constantFrom(...places) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('lead' as const, 'late' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('pause' as const, 'resume' as const, 'abort' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('rotate' as const),
      compromise: fc.boolean(),
      deadlineMs: fc.constantFrom(undefined, 120_000, 1800_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('care' as const) }) },
  // As a coordinator that has not heard of changes since: a while ago, it read the CA.
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('remember' as const, 'issueByMemory' as const), node }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** Watches what must never happen. */
class Witness {
  readonly bench: RotationBench;
  readonly signed = new Set<string>();
  /** The CA as another coordinator knows it. */
  memory: Awaited<ReturnType<RotationBench['read']>> | undefined;
  #last: AuthorityRecord;

  constructor(bench: RotationBench, authority: AuthorityRecord) {
    this.bench = bench;
    this.#last = authority;
    this.signed.add(authority.serial);
    bench.onIssue = (_node, by) => this.#issued(by);
  }

  /** The admin's word counts more: a compromised CA is given up at its deadline. */
  get #givenUp(): boolean {
    const now = this.bench.clock.nowMs();
    return this.bench.parts.records
      .list(cluster)
      .some(({ reason, deadlineMs }) => reason === 'compromise' && (deadlineMs ?? Number.POSITIVE_INFINITY) <= now);
  }

  #issued(by: AuthorityRecord): void {
    this.signed.add(by.serial);
    for (const each of this.#heard()) {
      if (each.trusts.includes(by.certificate) || this.#givenUp) continue;
      assert.fail(`${each.name} does not trust the CA that issues`);
    }
  }

  /** Those that are waited for, and have been told of the trust of now at all: one that has just come back is told first. */
  #heard(): BenchNode[] {
    return [...this.bench.nodes.values()].filter((each) => !this.bench.isAway(each) && !this.away.has(each.name));
  }

  /** Was away, and has not taken up yet what happened meanwhile. */
  readonly away = new Set<string>();

  note(): void {
    for (const each of this.bench.nodes.values()) if (this.bench.isAway(each)) this.away.add(each.name);
  }

  async look(): Promise<void> {
    const authority = await this.bench.stored();
    const gone = this.#last.bundle.filter((der) => !authority.bundle.includes(der));
    for (const der of gone) await this.#distrusted(authority, der);
    this.#last = authority;
    assert.deepEqual(this.bench.missingKeys(authority), [], 'a key is lost');
    const known = new Set(generationsOf(authority).map(({ generation }) => generation.serial));
    for (const serial of this.signed) assert.ok(known.has(serial), `the generation ${serial} signed leaves and is forgotten`);
    for (const { generation, keyDestroyed } of generationsOf(authority)) {
      if (keyDestroyed)
        assert.ok((await this.#lastEnd(generation.serial)) <= this.bench.clock.nowMs(), 'a key is destroyed that has leaves still');
    }
  }

  async #distrusted(authority: AuthorityRecord, der: string): Promise<void> {
    const serial = generationsOf(authority).find(({ generation }) => generation.certificate === der)?.generation.serial;
    if (this.#givenUp) return;
    for (const each of this.#heard()) {
      const inUse = each.leaf !== undefined && each.leaf.issuerSerial === serial && each.leaf.notAfterMs > this.bench.clock.nowMs();
      assert.ok(!inUse, `${each.name} still uses what the retired CA has issued`);
    }
  }

  async #lastEnd(serial: string): Promise<number> {
    const { entries } = await this.bench.store.range({ prefix: layout.certificatesOf(cluster) });
    const ends = entries.map(({ key, value }) => decodeRecord<CertificateRecord>(key, value)).filter((one) => one.issuerSerial === serial);
    return Math.max(0, ...ends.map(({ notAfterMs }) => notAfterMs));
  }
}

describe('whatever happens during rotations', () => {
  it('no CA is retired that is in use, none issues that a node does not trust, no key is lost, and all come to an end', async function () {
    this.timeout(120_000);
    const numRuns = Number(process.env['EVERCERT_PROPERTY_RUNS'] ?? 12);
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 20, maxLength: 60 }), async (operations) => {
        const bench = await RotationBench.start({
          nodes: { 'cp-1': 'control-plane', 'cp-2': 'control-plane', 'w-1': 'worker', 'w-2': 'worker' },
        });
        try {
          const witness = new Witness(bench, await bench.stored());
          await run(bench, { do: 'rotate', compromise: false, deadlineMs: undefined }, witness);
          for (const each of operations) {
            await run(bench, each, witness);
            witness.note();
            await witness.look();
          }
          await comesToAnEnd(bench, witness);
        } finally {
          await bench.close();
        }
      }),
      { numRuns, endOnFailure: process.env['EVERCERT_PROPERTY_RUNS'] === undefined },
    );
  });
});

async function run(bench: RotationBench, operation: Operation, witness: Witness): Promise<void> {
  const running = bench.parts.records.running(cluster)[0];
  const { rotations } = bench.parts;
  switch (operation.do) {
    case 'look':
      if (await bench.look()) await (await bench.takeOver())();
      return;
    case 'trust':
      await bench.trust(operation.node);
      if (bench.node(operation.node).on) witness.away.delete(operation.node);
      return;
    case 'renew':
      return void (await bench.renew(operation.node));
    case 'say':
      return bench.say(operation.node);
    case 'obey':
      await run(bench, { do: 'trust', node: operation.node }, witness);
      return bench.obey(operation.node);
    case 'obeyAll':
      for (const name of names) await run(bench, { do: 'obey', node: name }, witness);
      return;
    case 'pass':
      // Those that are on are heard all the time.
      for (let left = operation.ms; left > 0; left -= 20_000) {
        await bench.clock.advance(Math.min(20_000, left));
        for (const each of bench.nodes.values()) if (each.on) each.heardMs = bench.clock.monotonicMs();
      }
      return;
    case 'off':
      return bench.switchOff(operation.node);
    case 'on':
      if (bench.isAway(bench.node(operation.node))) witness.away.add(operation.node);
      return bench.switchOn(operation.node);
    case 'crash':
      bench.crashAt = operation.at;
      return;
    case 'lead':
      return void (await (
        await bench.takeOver()
      )());
    case 'late': {
      const before = await bench.takeOver();
      await bench.look();
      return before();
    }
    case 'rotate': {
      const { compromise, deadlineMs } = operation;
      await bench
        .rotate({ reason: compromise ? 'compromise' : 'requested', ...(deadlineMs !== undefined && { deadlineAfterMs: deadlineMs }) })
        .catch(() => {});
      return;
    }
    case 'pause':
    case 'resume':
    case 'abort':
      if (running) await rotations.set(running.id, { type: operation.do }, '', admin).catch(() => {});
      return;
    case 'care':
      return bench.parts.care.look();
    case 'remember':
      witness.memory = await bench.read();
      return;
    case 'issueByMemory':
      if (!bench.isAway(bench.node(operation.node))) await bench.renew(operation.node, witness.memory);
      return;
  }
}

/** Once everybody is there and nobody disturbs it any more. */
async function comesToAnEnd(bench: RotationBench, witness: Witness): Promise<void> {
  bench.crashAt = undefined;
  await (await bench.takeOver())();
  for (const name of names) {
    await run(bench, { do: 'on', node: name }, witness);
    await run(bench, { do: 'trust', node: name }, witness);
  }
  for (const { id } of bench.parts.records.running(cluster)) await bench.parts.rotations.set(id, { type: 'resume' }, '', admin);
  await bench.until(() => bench.parts.records.list(cluster).every(hasEnded));
  await witness.look();
  const { bundle, certificate } = await bench.stored();
  assert.deepEqual(bundle, [certificate]);
}
