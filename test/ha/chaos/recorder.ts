/** Keeps every version of every certificate that lay on a machine, and from when to when: what an auditor would know who looks at the files and asks nobody. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { repeat } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';

export interface RecordedMachine {
  id: string;
  node: string;
  rootDir: string;
  stateDir: string;
}

interface Version {
  pem: string;
  firstMs: number;
  lastMs: number;
}

interface Watched extends RecordedMachine {
  /** By the name of the file. */
  versions: Map<string, Version>;
  stamps: Map<string, string>;
}

const lookEveryMs = 1000;
const pki = 'var/lib/kubelet/pki';

export class Recorder {
  readonly #folder: string;
  readonly #machines = new Map<string, Watched>();
  readonly #abort = new AbortController();
  readonly #running: Promise<void>;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
    this.#running = repeat(systemClock, lookEveryMs, this.#abort.signal, () => this.look());
  }

  add(machine: RecordedMachine): void {
    this.#machines.set(machine.id, { ...machine, versions: new Map(), stamps: new Map() });
    writeFileSync(join(this.#folder, `${machine.id}.jsonl`), '');
  }

  /** The machine is looked at no more: it was switched off or removed, or the run has ended. */
  async end(id: string, gone: boolean): Promise<void> {
    const machine = this.#machines.get(id);
    if (!machine) return;
    await this.#look(machine);
    this.#machines.delete(id);
    for (const [file, version] of machine.versions) this.#write(id, file, version);
    const { node, rootDir, stateDir } = machine;
    writeFileSync(join(this.#folder, `${id}.end.json`), JSON.stringify({ node, endMs: systemClock.nowMs(), gone, rootDir, stateDir }));
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#running;
    for (const id of [...this.#machines.keys()]) await this.end(id, false);
  }

  async look(): Promise<void> {
    for (const machine of [...this.#machines.values()]) if (this.#machines.has(machine.id)) await this.#look(machine);
  }

  async #look(machine: Watched): Promise<void> {
    const files = { identity: join(machine.stateDir, 'identity/identity.json'), ...inRoot(machine.rootDir) };
    for (const [file, path] of Object.entries(files)) {
      const nowMs = systemClock.nowMs();
      const pem = await this.#read(machine, file, path);
      const known = machine.versions.get(file);
      if (pem === undefined) continue;
      if (known?.pem === pem) known.lastMs = nowMs;
      else {
        if (known) this.#write(machine.id, file, known);
        machine.versions.set(file, { pem, firstMs: nowMs, lastMs: nowMs });
      }
    }
  }

  /** Undefined while there is none. A file that has not changed is not read again. */
  async #read({ versions, stamps }: Watched, file: string, path: string): Promise<string | undefined> {
    try {
      const { ino, mtimeMs, size } = await stat(path);
      const stamp = `${ino} ${mtimeMs} ${size}`;
      const known = versions.get(file)?.pem;
      if (known !== undefined && stamps.get(file) === stamp) return known;
      const text = await readFile(path, 'utf8');
      const pem = leafOf(file === 'identity' ? (JSON.parse(text) as { chain: string }).chain : text);
      stamps.set(file, stamp);
      return pem;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  #write(id: string, file: string, version: Version): void {
    appendFileSync(join(this.#folder, `${id}.jsonl`), `${JSON.stringify({ file, ...version })}\n`);
  }
}

function inRoot(rootDir: string): Record<string, string> {
  return {
    'kubelet-client': join(rootDir, pki, 'kubelet-client-current.pem'),
    'kubelet-serving': join(rootDir, pki, 'kubelet-server-current.pem'),
  };
}

function leafOf(text: string): string | undefined {
  return /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text)?.[0];
}
