import { existsSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { stringify } from 'yaml';
import { waitUntil } from '../loop.ts';
import type { Environment } from '../supervisor/environment.ts';
import type { Notify } from '../supervisor/events.ts';
import { SupervisedProcess } from '../supervisor/process.ts';
import type { RunFolder } from '../supervisor/run-folder.ts';
import { AdminApi } from './admin.ts';
import { programs } from './programs.ts';

export interface CoordinatorOptions {
  folder: RunFolder;
  /** Of the process, its data folder and its configuration file; default `coordinator`. */
  name?: string;
  port: number;
  /** For CRL and OCSP. */
  webPort: number;
  /** Added to the configuration, or instead of what it would hold. */
  config: Record<string, unknown>;
  autoRestart: boolean;
  clock: Clock;
  notify: Notify;
}

const startTimeoutMs = 60_000;
const closeAfterMs = 10_000;

/** A coordinator of a local cluster: a process with its configuration, its data folder and its admin API. */
export class LocalCoordinator {
  readonly process: SupervisedProcess;
  readonly dataDir: string;
  readonly configPath: string;
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  readonly #clock: Clock;
  #admin: AdminApi | undefined;
  #credential = '';

  constructor({ folder, name = 'coordinator', port, webPort, config: more, autoRestart, clock, notify }: CoordinatorOptions) {
    this.dataDir = join(folder.path, name);
    this.configPath = join(folder.path, `${name}.yaml`);
    this.address = `127.0.0.1:${port}`;
    this.#clock = clock;
    const config = {
      dataDir: this.dataDir,
      listen: this.address,
      web: { listen: `127.0.0.1:${webPort}`, url: `http://127.0.0.1:${webPort}` },
      serverNames: ['localhost', '127.0.0.1'],
      log: { level: 'info', format: 'json' },
      ...more,
    };
    writeFileSync(this.configPath, stringify(config), { mode: 0o600 });
    this.process = new SupervisedProcess(
      {
        name,
        command: programs.coordinator,
        args: ['--config', this.configPath],
        cwd: folder.path,
        logPath: join(folder.logs, `${name}.log`),
        graceMs: 10_000,
        autoRestart,
      },
      clock,
      notify,
    );
  }

  /** Folder of the admin credential that the first start makes. */
  get adminDir(): string {
    return join(this.dataDir, 'admin');
  }

  /** The admin API; opened on first use, and again after `close` or when the coordinator has renewed the credential. FileSystem before the first start has made the credential. */
  async admin(): Promise<AdminApi> {
    const credential = await readFile(join(this.adminDir, 'admin.crt'), 'utf8').catch(() => '');
    if (this.#admin && credential === this.#credential) return this.#admin;
    const before = this.#admin;
    this.#credential = credential;
    this.#admin = await AdminApi.open(this.address, this.adminDir);
    // Calls that are under way end by themselves.
    if (before) this.#clock.after(closeAfterMs, () => before.close());
    return this.#admin;
  }

  /** Starts it and resolves once it answers calls. DeadlineExceeded when it does not within a minute. */
  async start(env: Environment = {}, signal?: AbortSignal): Promise<void> {
    await this.process.start(env);
    await this.waitUntilServing(signal);
  }

  async waitUntilServing(signal?: AbortSignal): Promise<void> {
    const ready = async (): Promise<boolean> => existsSync(join(this.adminDir, 'config.yaml')) && (await (await this.admin()).serving());
    const what = `${this.process.name} to answer (log: ${this.process.spec.logPath})`;
    await waitUntil(this.#clock, ready, { timeoutMs: startTimeoutMs, what, ...(signal && { signal }) });
  }

  async stop(): Promise<void> {
    this.#admin?.close();
    this.#admin = undefined;
    await this.process.stop();
  }
}
