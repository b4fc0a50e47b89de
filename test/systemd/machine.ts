/** A real Debian under systemd in a container: systemd-nspawn boots a root with an overlay in memory, so that every boot is a first one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { systemClock } from '@evercert/shared/clock';
import { repositoryRoot } from '../support/tools.ts';
import { Inside } from './inside.ts';

const bootLimitMs = 60_000;

/** Where the source tree is seen inside, read-only. */
export const sourceInside = '/source';

export class Machine extends Inside {
  readonly #nspawn: ChildProcess;

  private constructor(nspawn: ChildProcess, initPid: string) {
    super(initPid);
    this.#nspawn = nspawn;
  }

  /** Boots and waits until systemd says that it runs. */
  static async boot(root: string, ...moreFlags: string[]): Promise<Machine> {
    const name = `evercert-${process.pid}`;
    const flags = [
      '-q',
      '--register=no',
      '--keep-unit',
      '--private-network',
      '--volatile=overlay',
      `--bind-ro=${repositoryRoot}:${sourceInside}`,
      ...moreFlags,
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

  async powerOff(): Promise<void> {
    const ended = new Promise((resolve) => this.#nspawn.on('exit', resolve));
    const timer = systemClock.after(20_000, () => this.#nspawn.kill('SIGKILL'));
    await this.tryRun('systemctl', 'poweroff');
    await ended;
    timer.cancel();
  }
}
