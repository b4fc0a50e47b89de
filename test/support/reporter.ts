/**
 * Mocha's reporter for `npm test`: failures in full, skipped tests and slow tests in one line each, and the counts to the parent process by IPC.
 * With the reporter option `each` every test is a line as it ends, for suites that take minutes.
 */
import mocha from 'mocha';

/** Sent once, after the last test. */
export interface SuiteReport {
  passed: number;
  failed: number;
  skipped: number;
}

const { Base } = mocha.reporters;
const slowestShown = 5;

export default class Reporter extends Base {
  readonly #tests: Mocha.Test[] = [];
  readonly #skipped: string[] = [];

  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    const each = options.reporterOptions?.each !== undefined;
    runner.on('pass', (test) => {
      this.#tests.push(test);
      if (each) Base.consoleLog(`  ok (${seconds(test)}) ${test.fullTitle()}`);
    });
    runner.on('fail', (test) => Base.consoleLog(`  FAILED ${test.fullTitle()}`));
    runner.on('retry', (test, error) => Base.consoleLog(`  retried ${test.fullTitle()}: ${error.message}`));
    runner.on('pending', (test) => this.#skipped.push(test.fullTitle()));
    runner.once('end', () => this.#finish());
  }

  #finish(): void {
    for (const title of this.#skipped) Base.consoleLog(`  skipped ${title}`);
    const slow = this.#tests.filter((test) => (test.duration ?? 0) > test.slow()).sort((a, b) => (b.duration ?? 0) - (a.duration ?? 0));
    for (const test of slow.slice(0, slowestShown)) Base.consoleLog(`  slow (${seconds(test)}) ${test.fullTitle()}`);
    if (slow.length > slowestShown) Base.consoleLog(`  slow: ${slow.length - slowestShown} more`);
    if (this.failures.length > 0) Base.list(this.failures);
    const report: SuiteReport = { passed: this.stats.passes, failed: this.stats.failures, skipped: this.stats.pending };
    process.send?.(report);
  }
}

function seconds(test: Mocha.Test): string {
  return `${((test.duration ?? 0) / 1000).toFixed(1)} s`;
}
