/** `npm run bench [-- --only NAME] [--quick] [--summary json]`: each benchmark measures both sides of its ratio in one run. */
import { cpus } from 'node:os';
import { Command, Option } from 'commander';
import { benchAgent } from './agent.ts';
import { benchKeys } from './keys.ts';
import { benchRenewal } from './renewal.ts';
import { benchRevocation } from './revocation.ts';
import { benchStores } from './store.ts';

const names = ['renewal', 'agent', 'revocation', 'store', 'keys'] as const;

interface Options {
  only?: (typeof names)[number];
  quick: boolean;
  summary?: string;
  profile?: string;
}

const program = new Command('bench')
  .description("Measures Evercert beside what it is compared with, on this machine's real processes")
  .addOption(new Option('--only <name>', 'run one benchmark').choices(names))
  .option('--quick', 'fewer and shorter rounds: to see that it runs, not to quote', false)
  .option('--profile <folder>', 'write V8 CPU profiles of the coordinator there')
  .addOption(new Option('--summary <format>', 'print one JSON object as the last line').choices(['json']))
  .action(run);

const f = (value: number, digits = 2): string => value.toFixed(digits);

async function run({ only, quick, summary, profile }: Options): Promise<void> {
  const results: Record<string, unknown> = { node: process.version, cpus: cpus().length, cpuModel: cpus()[0]?.model };
  const wanted = (name: (typeof names)[number]): boolean => only === undefined || only === name;
  if (wanted('renewal')) results['renewal'] = await renewal(quick, profile);
  if (wanted('agent')) {
    const result = await benchAgent(quick ? 5 : 60);
    results['agent'] = result;
    console.log(
      `agent at rest, ${result.certificates} certificates: ${f(result.rssMib, 1)} MiB resident, ${f(result.cpuPercent)} % of one core over ${result.restSeconds} s`,
    );
  }
  if (wanted('revocation')) results['revocation'] = await revocation(quick);
  if (wanted('store')) results['store'] = await stores(quick);
  if (wanted('keys')) results['keys'] = await keys(quick);
  if (summary === 'json') console.log(JSON.stringify(results));
}

async function keys(quick: boolean): Promise<unknown> {
  const results = await benchKeys(quick ? 1 : 5);
  if (results === undefined) console.log('keys: SoftHSM2 is not installed (Debian: softhsm2)');
  for (const { place, algorithm, inFlight, perSecond, stallMs } of results ?? []) {
    console.log(`signatures, ${place}, ${algorithm}, ${inFlight} in flight: ${f(perSecond, 0)}/s, longest stall ${f(stallMs, 1)} ms`);
  }
  return results;
}

async function renewal(quick: boolean, profileDir: string | undefined): Promise<Record<string, unknown>> {
  const results: Record<string, unknown> = {};
  for (const [name, caAlgorithm] of [
    ['p384', 'ecdsa-p384'],
    ['rsa4096', 'rsa-4096'],
  ] as const) {
    const result = await benchRenewal({
      caAlgorithm,
      rounds: quick ? 2 : 7,
      perRound: quick ? 200 : 1000,
      warmUp: quick ? 100 : 2000,
      inFlight: 16,
      profileDir,
    });
    results[name] = result;
    console.log(
      `renewal of a P-384 certificate, ${caAlgorithm} CA: coordinator ${f(result.cpuMs)} ms CPU, bare verify + sign ${f(result.bareCpuMs)} ms, ratio ${f(result.ratioToBare)}; ${f(result.perSecond, 0)}/s beside the load generator`,
    );
  }
  return results;
}

async function revocation(quick: boolean): Promise<Record<string, unknown>> {
  const results: Record<string, unknown> = {};
  for (const entries of [10, 1000, 100_000]) {
    const result = await benchRevocation(entries, { rounds: quick ? 3 : 15, perRound: quick ? 10_000 : 50_000 });
    results[entries] = result;
    console.log(
      `whether a renewal is refused, ${entries} entries: ${f(result.decisionNs, 0)} ns a decision; index built in ${f(result.buildMs, 1)} ms`,
    );
  }
  return results;
}

async function stores(quick: boolean): Promise<Record<string, unknown>> {
  const inFlight = [1, 16, 64];
  const results = await benchStores({ inFlight, seconds: quick ? 1 : 10 });
  for (const [name, result] of Object.entries(results)) {
    const figures = inFlight.map((count) => f(result.perSecond[count] ?? 0, 0)).join(' / ');
    console.log(`transactions of 1 KiB, ${name}: ${figures} per second with ${inFlight.join(' / ')} in flight`);
  }
  return results;
}

await program.parseAsync();
