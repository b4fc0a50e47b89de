// Installs the dependencies when they are missing or older than the lock file. Plain JavaScript, because it has to run on whatever
// Node the machine happens to have: the pinned Node comes with the dependencies themselves.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stamp = join(root, 'node_modules', '.evercert-lock-sha256');
const digest = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex');

export const nodeBinary = join(root, 'node_modules', '.bin', 'node');

/** Runs `npm ci` unless node_modules already matches package-lock.json. Exits the process with npm's code when it fails. */
export function setUp() {
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === digest && existsSync(nodeBinary)) return;
  process.stderr.write('Installing dependencies (npm ci)...\n');
  const result = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) {
    process.stderr.write('npm ci failed: see its output above\n');
    process.exit(result.status ?? 1);
  }
  writeFileSync(stamp, digest);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp();
