/**
 * Does for static pods what kubelet does, without containers: each manifest in a folder is a process that runs while the manifest is there. Looks at the folder from time to time, as kubelet
 * does by `fileCheckFrequency`, and starts a pod anew when what its manifest says has changed.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SupervisedProcess } from '@evercert/local';
import { type Clock, systemClock } from '@evercert/shared/clock';
import { parse, stringify } from 'yaml';

interface Pod {
  said: string;
  process: SupervisedProcess;
}

export interface StaticPodKubeletOptions {
  folder: string;
  logFolder: string;
  checkMs: number;
  clock?: Clock;
}

export class StaticPodKubelet {
  /** Starts of each pod, by its manifest's name. */
  readonly starts = new Map<string, number>();
  readonly #options: StaticPodKubeletOptions;
  readonly #pods = new Map<string, Pod>();
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  #done: Promise<void> = Promise.resolve();

  constructor(options: StaticPodKubeletOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  start(): void {
    this.#done = this.#run();
  }

  pid(name: string): number | undefined {
    return this.#pods.get(name)?.process.pid;
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    await Promise.all([...this.#pods.values()].map(({ process }) => process.stop()));
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      await this.#look();
      await this.#clock.sleep(this.#options.checkMs, this.#abort.signal).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    const { folder } = this.#options;
    // As kubelet: `[^.]*`.
    const names = readdirSync(folder).filter((name) => !name.startsWith('.'));
    for (const [name, pod] of this.#pods) {
      if (names.includes(name) && said(join(folder, name)) === pod.said) continue;
      this.#pods.delete(name);
      await pod.process.stop();
    }
    for (const name of names) if (!this.#pods.has(name)) await this.#startPod(name, said(join(folder, name)));
  }

  async #startPod(name: string, manifest: string): Promise<void> {
    const { logFolder } = this.#options;
    const [command = '', ...args] = parse(manifest).spec.containers[0].command as string[];
    // As a restartPolicy of Always would have it.
    const spec = { name, command, args, cwd: logFolder, logPath: join(logFolder, `${name}.log`), graceMs: 10_000, autoRestart: true };
    const process = new SupervisedProcess(spec, this.#clock, () => undefined);
    this.#pods.set(name, { said: manifest, process });
    this.starts.set(name, (this.starts.get(name) ?? 0) + 1);
    await process.start();
  }
}

/** What a manifest says: touching the file changes nothing, as with kubelet. */
function said(path: string): string {
  return stringify(parse(readFileSync(path, 'utf8')));
}
