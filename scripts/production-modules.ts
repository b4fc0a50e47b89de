// `node scripts/production-modules.ts PART…`: the folders that PART needs at run time, one a line, relative to the repository, read from package-lock.json:
// workspaces by their folder, packages as node_modules/…, without what only development needs. Works offline; deploy/install.sh and the packages copy these.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

interface LockEntry {
  link?: boolean;
  resolved?: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, LockEntry> };

/** Node's own resolution over the lock file: the nearest node_modules upwards from the folder. */
function resolveFrom(folder: string, name: string): string | undefined {
  for (let at = folder; ; at = posix.dirname(at)) {
    const candidate = posix.join(at, 'node_modules', name);
    if (lock.packages[candidate] !== undefined) return candidate;
    if (at === '.' || at === '') return undefined;
  }
}

function collect(folder: string, found: Set<string>): void {
  if (found.has(folder)) return;
  const entry = lock.packages[folder];
  if (entry === undefined) throw new Error(`package-lock.json has no ${folder}: name a workspace, such as agent or coordinator`);
  if (entry.link && entry.resolved !== undefined) {
    collect(entry.resolved, found);
    return;
  }
  found.add(folder);
  for (const name of Object.keys(entry.dependencies ?? {})) {
    const dependency = resolveFrom(folder, name);
    if (dependency === undefined) throw new Error(`package-lock.json does not hold ${name}, which ${folder} needs: run npm install`);
    collect(dependency, found);
  }
  for (const name of Object.keys(entry.optionalDependencies ?? {})) {
    const dependency = resolveFrom(folder, name);
    // The lock file names those of every platform; npm brought this one's.
    if (dependency !== undefined && existsSync(join(root, dependency))) collect(dependency, found);
  }
}

const parts = process.argv.slice(2);
const found = new Set<string>();
for (const part of parts) collect(part, found);
process.stdout.write(`${[...found].sort().join('\n')}\n`);
