// `npm test`: the checks, the unit suite and the integration suite, each with its time. Ends with `N passed, N failed` (and `, N skipped`).
import { type ChildProcess, spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { systemClock } from '@evercert/shared/clock';
import type { SuiteReport } from '../test/support/reporter.ts';
import { OthersLoad } from './others-load.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const unitLimitSeconds = 40;
/** A process that is still there so long after its last test has left something open. */
const exitGraceMs = 10_000;

const usage = `npm test [-- OPTIONS]
  --checks         types, lint and generated code alone
  --unit           the unit suite alone
  --integration    the integration suite alone
  --grep PATTERN   only tests whose title matches; the checks are left out
`;

const { values: options } = parseArgs({
  options: {
    checks: { type: 'boolean' },
    unit: { type: 'boolean' },
    integration: { type: 'boolean' },
    grep: { type: 'string' },
    help: { type: 'boolean' },
  },
});

const total: SuiteReport = { passed: 0, failed: 0, skipped: 0 };

async function main(): Promise<void> {
  if (options.help) {
    process.stdout.write(usage);
    return;
  }
  const all = !options.checks && !options.unit && !options.integration;
  if (options.checks || (all && options.grep === undefined)) for (const name of ['types', 'lint', 'proto']) await check(name);
  if (all || options.unit) await unitSuite();
  if (all || options.integration) await suite('integration', 18 * 60, ['--reporter-option', 'each=true', '--parallel', '--jobs', '2']);
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
  process.stdout.write(`${total.passed} passed, ${total.failed} failed${skipped}\n`);
  process.exitCode = total.failed > 0 ? 1 : 0;
}

/** One of package.json's check:NAME; counts as one test, and its output is shown when it fails. */
async function check(name: string): Promise<void> {
  const start = systemClock.monotonicMs();
  const child = spawn('npm', ['run', '-s', `check:${name}`], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => output.push(chunk));
  const status = await ended(child);
  say(`check:${name}`, start, status === 0 ? 'passed' : 'FAILED');
  if (status === 0) total.passed += 1;
  else {
    total.failed += 1;
    process.stdout.write(`${Buffer.concat(output).toString().trimEnd()}\n`);
  }
}

async function unitSuite(): Promise<void> {
  const load = new OthersLoad();
  const seconds = await suite('unit', 5 * 60, []);
  if (seconds <= unitLimitSeconds || options.grep !== undefined) return;
  const text = `the unit suite took ${seconds.toFixed(1)} s; its limit is ${unitLimitSeconds} s`;
  if (load.isBusy()) {
    process.stdout.write(`warning: ${text} (other processes were busy meanwhile, so this is no failure)\n`);
    return;
  }
  process.stdout.write(`FAILED: ${text}. Move what is slow to test/integration or make it faster.\n`);
  total.failed += 1;
}

/** Runs one of mocha's suites; returns its wall time in seconds. A suite that ends without a report, or does not end, is a failure of its own. */
async function suite(name: string, limitSeconds: number, args: string[]): Promise<number> {
  const start = systemClock.monotonicMs();
  process.stdout.write(`${name} suite\n`);
  const grep = options.grep === undefined ? [] : ['--grep', options.grep];
  const config = ['--config', join('test', `.mocharc.${name}.json`), '--reporter', './test/support/reporter.ts'];
  const child = spawn(process.execPath, [join('node_modules', 'mocha', 'bin', 'mocha.js'), ...config, ...grep, ...args], {
    cwd: root,
    // Tests start hundreds of processes: with Node's compile cache each starts in a third of the time.
    env: { NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'node-compile'), ...process.env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let report: SuiteReport | undefined;
  let fault: string | undefined;
  const stopFor = (reason: string): void => {
    fault = reason;
    child.kill('SIGKILL');
  };
  const timers = [systemClock.after(limitSeconds * 1000, () => stopFor(`it was stopped after ${limitSeconds} s`))];
  child.on('message', (message: SuiteReport) => {
    report = message;
    timers.push(
      systemClock.after(exitGraceMs, () =>
        stopFor('its process did not end after the last test: a test left a timer, socket or child open'),
      ),
    );
  });
  const status = await ended(child);
  for (const timer of timers) timer.cancel();
  if (report === undefined) fault ??= `it ended with exit code ${status} before its last test`;
  else if (status !== 0 && report.failed === 0) fault ??= `all its tests passed, yet it ended with exit code ${status}`;
  if (fault !== undefined) process.stdout.write(`FAILED: the ${name} suite: ${fault}\n`);
  total.passed += report?.passed ?? 0;
  total.failed += (report?.failed ?? 0) + (fault === undefined ? 0 : 1);
  total.skipped += report?.skipped ?? 0;
  const counts = `${report?.passed ?? 0} passed, ${report?.failed ?? 0} failed, ${report?.skipped ?? 0} skipped`;
  say(`${name} suite`, start, counts);
  return (systemClock.monotonicMs() - start) / 1000;
}

/** The exit code; -1 when a signal ended it. */
function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve(status ?? -1));
  });
}

function say(what: string, startMs: number, outcome: string): void {
  process.stdout.write(`${what}: ${outcome} in ${((systemClock.monotonicMs() - startMs) / 1000).toFixed(1)} s\n`);
}

await main();
