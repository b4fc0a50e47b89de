/** After a trust bundle was written: makes its component read it, then looks whether it accepts clients by it. */
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import { backoffMs } from '@evercert/shared/retry';
import type { Look } from '../activation/verify.ts';
import type { DesiredBundle } from '../desired/types.ts';
import type { EventSink } from '../events.ts';
import type { Reloader } from '../reload/types.ts';
import type { StateFolder } from '../state/folder.ts';
import type { BundleVerifier } from './verify.ts';

export interface BundleActivatorOptions {
  reload: Reloader;
  verify: BundleVerifier;
  /** Keeps what components are still to be told, across a crash. */
  folder: StateFolder;
  clock: Clock;
  events: EventSink;
  onChange: () => void;
}

interface Watched {
  bundle: DesiredBundle;
  /** What the last look at this version showed. */
  look?: Look;
  /** The component is still to be told. */
  owed: boolean;
  reloads: number;
  abort: AbortController;
  running?: Promise<void>;
}

/** kube-apiserver reads its client CA again within a minute. */
const lookMs = 75_000;
/** A component that still does not take up the bundle is not restarted for ever. */
const maxReloads = 3;
const owedFolder = 'owed-reloads';

export class BundleActivator {
  readonly #options: BundleActivatorOptions;
  readonly #watched = new Map<string, Watched>();

  constructor(options: BundleActivatorOptions) {
    this.#options = options;
  }

  /** A version is about to be written: from now on the component is to be told, whatever happens to this process. Errors: DiskFull, FileSystem. */
  async writing({ name, reload, version }: DesiredBundle): Promise<void> {
    if (reload) await this.#options.folder.write(owedFile(name), JSON.stringify({ version }));
  }

  /** It has been written. The rest is done in the background. */
  written(bundle: DesiredBundle): void {
    this.#start(this.#watch(bundle, bundle.reload !== undefined));
  }

  /** What is declared and in place now, whenever it was written; what is no longer declared is forgotten. Errors: FileSystem. */
  async declared(bundles: readonly DesiredBundle[]): Promise<void> {
    const names = new Set(bundles.map(({ name }) => name));
    for (const [name, { abort }] of this.#watched) {
      if (names.has(name)) continue;
      abort.abort();
      this.#watched.delete(name);
      await this.#options.folder.remove(owedFile(name));
    }
    for (const bundle of bundles) {
      const known = this.#watched.get(bundle.name);
      if (known?.bundle.version === bundle.version && known.bundle.verify === bundle.verify) known.bundle = bundle;
      else this.#watch(bundle, (await this.#options.folder.read(owedFile(bundle.name))) !== undefined);
    }
  }

  /** Tells components that are still to be told, and looks at those that were not seen to have taken up their bundle. What was never changed here is looked at, and no more. */
  async scan(): Promise<void> {
    await Promise.all(
      [...this.#watched.values()].map(async (watched) => {
        if (watched.running) return;
        const { verify } = watched.bundle;
        if (watched.owed && watched.reloads < maxReloads) this.#start(watched);
        else if (verify !== undefined && watched.look?.result !== 'Served') await this.#look(watched, verify);
      }),
    );
  }

  /** "", "Served", "NotServed" or "Unreachable", and what was seen instead; and whether the component is still to be told. */
  served(name: string, version: number): { served: string; servedMessage: string; reloadOwed: boolean } {
    const watched = this.#watched.get(name);
    const known = watched?.bundle.version === version ? watched : undefined;
    return { served: known?.look?.result ?? '', servedMessage: known?.look?.message ?? '', reloadOwed: known?.owed ?? true };
  }

  async stop(): Promise<void> {
    for (const { abort } of this.#watched.values()) abort.abort();
    await Promise.all([...this.#watched.values()].map(({ running }) => running));
  }

  #watch(bundle: DesiredBundle, owed: boolean): Watched {
    this.#watched.get(bundle.name)?.abort.abort();
    const watched: Watched = { bundle, owed, reloads: 0, abort: new AbortController() };
    this.#watched.set(bundle.name, watched);
    return watched;
  }

  #start(watched: Watched): void {
    watched.running = this.#activate(watched)
      .catch((caught: unknown) => {
        const { code, message } = toEvercertError(caught);
        if (code === 'Cancelled' || watched.abort.signal.aborted) return;
        this.#event(watched, 'ReloadFailed', code, `the reload after a change of ${watched.bundle.name} failed: ${message}`);
      })
      .finally(() => {
        delete watched.running;
      });
  }

  /** As often as it makes sense: a component that serves clients by the bundle before was told too early, or did not listen. */
  async #activate(watched: Watched): Promise<void> {
    const { reload, verify, name } = watched.bundle;
    for (;;) {
      if (reload) {
        watched.reloads += 1;
        await this.#options.reload(reload, { signal: watched.abort.signal, ...(verify !== undefined && { verify }) });
        watched.owed = false;
        await this.#options.folder.remove(owedFile(name));
        this.#options.onChange();
      }
      if (verify === undefined) return;
      const look = await this.#lookForAWhile(watched, verify);
      if (watched.abort.signal.aborted || look.result === 'Served') return;
      if (look.result === 'NotServed' && reload && watched.reloads < maxReloads) continue;
      this.#event(watched, `Bundle${look.result}`, 'NotServed', `trust bundle ${name} is in place, but ${look.message}`);
      return;
    }
  }

  async #lookForAWhile(watched: Watched, verify: string): Promise<Look> {
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + lookMs;
    for (let attempt = 1; ; attempt += 1) {
      const look = await this.#look(watched, verify);
      const delayMs = backoffMs({ attempt, draw: 1, baseMs: 250, capMs: 5000 });
      if (look.result === 'Served' || clock.monotonicMs() + delayMs > endMs) return look;
      await clock.sleep(delayMs, watched.abort.signal);
    }
  }

  async #look(watched: Watched, url: string): Promise<Look> {
    const look = await this.#options.verify(url, watched.bundle.certificates);
    const news = watched.look?.result !== look.result || watched.look.message !== look.message;
    watched.look = look;
    if (news && !watched.abort.signal.aborted) this.#options.onChange();
    return look;
  }

  #event({ bundle }: Watched, reason: string, errorCode: string, message: string): void {
    this.#options.events.record({ reason, type: 'Warning', certificate: bundle.name, errorCode, message });
  }
}

function owedFile(name: string): string {
  return `${owedFolder}/${name}.json`;
}
