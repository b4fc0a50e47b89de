// `node scripts/run.mjs FILE ARGS…`: sets up, then runs FILE on the pinned Node with the signals and the exit code passed through.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeBinary, setUp } from './setup.mjs';

setUp();
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [file, ...args] = process.argv.slice(2);
const child = spawn(nodeBinary, [join(root, file), ...args], {
  stdio: 'inherit',
  env: {
    // What Node compiled (and stripped of types) is kept for the next start.
    NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'node'),
    ...process.env,
    PATH: `${join(root, 'node_modules', '.bin')}:${process.env.PATH}`,
  },
});
// Ctrl-C reaches the whole foreground process group: the child stops by itself, and this process waits for its exit code.
process.on('SIGINT', () => {});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
// npm that is killed cannot pass anything on. (`exec` in the scripts lets its signals reach this process instead of ending at a shell.)
const parent = process.ppid;
if (process.env.npm_lifecycle_event) {
  const look = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(look);
    child.kill('SIGTERM');
  }, 1000);
  look.unref();
}
child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
