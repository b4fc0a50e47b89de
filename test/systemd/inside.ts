import { systemClock } from '@evercert/shared/clock';
import { type RunResult, run } from '../support/tools.ts';

/** What runs in a machine: commands through the namespaces of its process 1. */
export class Inside {
  readonly #initPid: string;

  constructor(initPid: string) {
    this.#initPid = initPid;
  }

  tryRun(...command: string[]): Promise<RunResult> {
    const environment = ['env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'LANG=C.UTF-8'];
    return run('nsenter', ['-t', this.#initPid, '-m', '-p', '-u', '-i', '-n', '-C', '--', ...environment, ...command]);
  }

  /** Runs a command inside as root; rejects with its output when it fails. Returns its standard output. */
  async run(...command: string[]): Promise<string> {
    const result = await this.tryRun(...command);
    if (result.status === 0) return result.stdout;
    throw new Error(`inside: ${command.join(' ')} failed (${result.status})\n${result.stdout}${result.stderr}`);
  }

  write(path: string, text: string): Promise<string> {
    return this.run('sh', '-c', 'printf %s "$2" > "$1"', 'write', path, text);
  }

  /** One property of a unit, as `systemctl show` prints it. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.run('systemctl', 'show', '--value', '-p', name, unit)).trim();
  }

  /** Asks until the answer is true; rejects with the unit's journal when it does not become so. */
  async until(unit: string, what: string, isSo: () => Promise<boolean>, limitMs = 30_000): Promise<void> {
    const deadline = systemClock.monotonicMs() + limitMs;
    while (!(await isSo())) {
      if (systemClock.monotonicMs() > deadline) {
        throw new Error(`${what}: not within ${limitMs} ms\n${await this.run('journalctl', '-u', unit, '--no-pager', '-n', '60')}`);
      }
      await systemClock.sleep(250);
    }
  }
}
