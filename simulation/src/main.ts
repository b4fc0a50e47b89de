/** `npm run simulate -- --clusters 1000 --nodes 50 --days 30 [--seed S] [--summary json] [--cluster N [--trace]]` */
import { randomBytes } from 'node:crypto';
import { systemClock } from '@evercert/shared/clock';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { FoundViolation, Summary } from './run.ts';
import { simulate } from './run.ts';

interface Options {
  clusters: number;
  nodes: number;
  days: number;
  seed?: string;
  cluster?: number;
  trace: boolean;
  summary?: string;
}

/** Violations that are told; the others are counted. */
const maxTold = 20;

const program = new Command('simulate')
  .description('Lets clusters live in virtual time under random faults, with the real decisions of replacement, and judges what they do')
  .option('--clusters <count>', 'clusters, one after the other', whole(1, 1_000_000), 100)
  .option('--nodes <count>', 'nodes of each, 3 of them control-plane nodes (1 of fewer than 5)', whole(2, 1000), 50)
  .option('--days <days>', 'days that each lives', whole(1, 366), 30)
  .option('--seed <seed>', 'the same seed gives the same run; by default a random one is taken')
  .option('--cluster <number>', 'only this cluster of the run, from 1', whole(1, 1_000_000))
  .option('--trace', 'print what happens, line by line', false)
  .addOption(new Option('--summary <format>', 'print one JSON object as the last line').choices(['json']))
  .action(run);

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
    return value;
  };
}

async function run(options: Options): Promise<void> {
  const { clusters, nodes, days, cluster, trace, seed = randomBytes(6).toString('hex') } = options;
  const numbers = cluster === undefined ? Array.from({ length: clusters }, (_, at) => at + 1) : [cluster];
  process.stdout.write(`seed ${seed}: ${numbers.length} clusters of ${nodes} nodes, ${days} days\n`);
  const startMs = systemClock.monotonicMs();
  const showProgress = progress(numbers.length, startMs);
  const { summary, violations } = await simulate({
    seed,
    nodes,
    days,
    clusters: numbers,
    done: showProgress,
    ...(trace && { tell: (line: string) => void process.stdout.write(`${line}\n`) }),
  });
  tell(violations, summary);
  const seconds = (systemClock.monotonicMs() - startMs) / 1000;
  process.stderr.write(`took ${seconds.toFixed(1)} s\n`);
  if (options.summary === 'json') process.stdout.write(`${JSON.stringify(summary)}\n`);
  else process.stdout.write(inWords(summary));
  process.exitCode = violations.length > 0 ? 1 : 0;
}

/** On a terminal alone. */
function progress(all: number, startMs: number): () => void {
  let done = 0;
  let toldMs = startMs;
  return () => {
    done += 1;
    const nowMs = systemClock.monotonicMs();
    if (!process.stderr.isTTY || (nowMs - toldMs < 500 && done < all)) return;
    toldMs = nowMs;
    const leftSeconds = Math.round(((nowMs - startMs) / done) * (all - done)) / 1000;
    process.stderr.write(`\r${done} of ${all} clusters, ${Math.round(leftSeconds)} s left \x1b[K${done === all ? '\n' : ''}`);
  };
}

function tell(violations: readonly FoundViolation[], { seed, nodes, days }: Summary): void {
  for (const { kind, cluster, atMs, node, what } of violations.slice(0, maxTold)) {
    process.stdout.write(
      `${kind}: cluster ${cluster}, ${new Date(atMs).toISOString()}, ${node}: ${what}\n  npm run simulate -- --nodes ${nodes} --days ${days} --seed ${seed} --cluster ${cluster} --trace\n`,
    );
  }
  if (violations.length > maxTold) process.stdout.write(`and ${violations.length - maxTold} more\n`);
}

function inWords(summary: Summary): string {
  const { heldBy, ...rest } = summary;
  const lines = Object.entries(rest).map(([name, value]) => `${name.padEnd(20)} ${value}`);
  return `${lines.join('\n')}\nheld back by\n${Object.entries(heldBy)
    .map(([reason, times]) => `  ${reason.padEnd(26)} ${times}\n`)
    .join('')}`;
}

await program.parseAsync();
