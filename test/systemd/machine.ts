/** A real Debian under systemd in a container: debootstrap makes its root once, systemd-nspawn boots it with an overlay in memory, so that every boot is a first one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { systemClock } from '@evercert/shared/clock';
import { type RunResult, repositoryRoot, run, runOk } from '../support/tools.ts';

const packages = 'systemd,dbus,libatomic1';
const suite = 'bookworm';
const bootLimitMs = 60_000;

/** Where the source tree is seen inside, read-only. */
export const sourceInside = '/source';

/** The root folder, from the cache in the system's temporary folder; the first call takes a minute or two and needs Debian's mirror. */
export async function debianRoot(): Promise<string> {
  const root = join(tmpdir(), `evercert-debian-${userInfo().uid}`, suite);
  if (existsSync(root)) return root;
  mkdirSync(dirname(root), { recursive: true, mode: 0o700 });
  const unfinished = `${root}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  await runOk('debootstrap', ['--variant=minbase', `--include=${packages}`, suite, unfinished], { timeoutMs: 600_000 });
  renameSync(unfinished, root);
  return root;
}

export class Machine {
  readonly #nspawn: ChildProcess;
  readonly #initPid: string;

  private constructor(nspawn: ChildProcess, initPid: string) {
    this.#nspawn = nspawn;
    this.#initPid = initPid;
  }

  /** Boots and waits until systemd says that it runs. */
  static async boot(root: string): Promise<Machine> {
    const name = `evercert-${process.pid}`;
    const flags = [
      '-q',
      '--register=no',
      '--keep-unit',
      '--private-network',
      '--volatile=overlay',
      `--bind-ro=${repositoryRoot}:${sourceInside}`,
    ];
    const nspawn = spawn('systemd-nspawn', [...flags, '-D', root, '-M', name, '--boot'], { stdio: 'ignore' });
    const deadline = systemClock.monotonicMs() + bootLimitMs;
    for (;;) {
      const [initPid] = readFileSync(`/proc/${nspawn.pid}/task/${nspawn.pid}/children`, 'utf8').trim().split(' ');
      if (initPid) {
        const machine = new Machine(nspawn, initPid);
        const { stdout } = await machine.tryRun('systemctl', 'is-system-running');
        if (['running', 'degraded'].includes(stdout.trim())) return machine;
      }
      if (systemClock.monotonicMs() > deadline) {
        nspawn.kill('SIGKILL');
        throw new Error(`the machine in ${root} did not boot within ${bootLimitMs} ms`);
      }
      await systemClock.sleep(200);
    }
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

  async powerOff(): Promise<void> {
    const ended = new Promise((resolve) => this.#nspawn.on('exit', resolve));
    const timer = systemClock.after(20_000, () => this.#nspawn.kill('SIGKILL'));
    await this.tryRun('systemctl', 'poweroff');
    await ended;
    timer.cancel();
  }
}
