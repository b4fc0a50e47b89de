import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError } from '@evercert/shared/files';
import { maxCoordinators } from '../cluster/options.ts';

/** All that a run makes in its folder; nothing else in there is ever removed. */
const entries = [
  ...['coordinator', ...Array.from({ length: maxCoordinators }, (_, index) => `coordinator-${index + 1}`)].flatMap((name) => [
    name,
    `${name}.yaml`,
  ]),
  ...['state-etcd', 'machines.json', 'nodes', 'logs', 'run'],
];
const markerName = 'evercert-local.json';
/** A unix socket's path has 108 bytes, the last of them zero (unix(7)). */
const maxSocketPath = 107;
const longestSocketName = 'worker-9999.removed-9999.sock';

export interface RunFolder {
  path: string;
  logs: string;
  nodes: string;
  /** For unix sockets: inside the run folder unless that path is too long for them. */
  sockets: string;
  /** Takes away what lies outside the run folder, and the run folder itself when it was a temporary one. */
  release(): void;
}

/** `2026-11-24T20-49-03Z`: sorts by time, and is a fine file name everywhere. */
export function timestampName(nowMs: number): string {
  return `${new Date(nowMs).toISOString().slice(0, 19).replaceAll(':', '-')}Z`;
}

const maxRunsPerSecond = 100;

/** Makes a new folder below `parent`, named after the time, for one run alone: runs that start in the same second get `-2`, `-3`… */
export function newRunFolder(parent: string, nowMs: number): string {
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  for (let i = 1; i <= maxRunsPerSecond; i++) {
    const path = join(parent, i === 1 ? timestampName(nowMs) : `${timestampName(nowMs)}-${i}`);
    try {
      mkdirSync(path, { mode: 0o700 });
      return path;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw toFileError(error, 'make the folder', path);
    }
  }
  throw new EvercertError('AlreadyExists', `${parent} already has ${maxRunsPerSecond} folders of this second: try again`);
}

/**
 * Makes the run folder (mode 0700: it will hold private keys). A folder of an earlier run is emptied of that run's files and used afresh;
 * any other folder that is not empty is refused with FileConflict, and so is one whose run is still going on.
 * Without a path a temporary folder is made, and removed by `release`.
 */
export function prepareRunFolder(wanted: string | undefined, nowMs: number): RunFolder {
  const path = wanted === undefined ? mkdtempSync(join(tmpdir(), 'evercert-')) : resolve(wanted);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw toFileError(error, 'make the folder', path);
  }
  claim(path, nowMs);
  for (const folder of ['logs', 'nodes', 'run']) mkdirSync(join(path, folder), { mode: 0o700 });
  const inside = join(path, 'run');
  const fits = Buffer.byteLength(join(inside, longestSocketName)) <= maxSocketPath;
  const sockets = fits ? inside : mkdtempSync(join(tmpdir(), 'ec-'));
  return {
    path,
    logs: join(path, 'logs'),
    nodes: join(path, 'nodes'),
    sockets,
    release: () => {
      if (!fits) rmSync(sockets, { recursive: true, force: true });
      if (wanted === undefined) rmSync(path, { recursive: true, force: true });
      else writeMarker(path, { startedAt: new Date(nowMs).toISOString() });
    },
  };
}

function claim(path: string, nowMs: number): void {
  const marker = join(path, markerName);
  const found = readdirSync(path);
  if (found.length > 0 && !existsSync(marker)) {
    throw new EvercertError(
      'FileConflict',
      `${path} is not empty and no earlier run of the local cluster made it: give --run-dir a new or an empty folder`,
    );
  }
  const pid = found.length > 0 ? readPid(marker) : undefined;
  if (pid !== undefined && isAlive(pid)) {
    throw new EvercertError(
      'FileConflict',
      `${path} is in use by a local cluster that still runs (process ${pid}): stop it or choose another folder`,
    );
  }
  for (const entry of entries) rmSync(join(path, entry), { recursive: true, force: true });
  writeMarker(path, { startedAt: new Date(nowMs).toISOString(), pid: process.pid });
}

function writeMarker(path: string, content: { startedAt: string; pid?: number }): void {
  writeFileSync(join(path, markerName), `${JSON.stringify({ madeBy: 'evercert local cluster', ...content })}\n`, { mode: 0o600 });
}

function readPid(marker: string): number | undefined {
  try {
    const content: unknown = JSON.parse(readFileSync(marker, 'utf8'));
    const pid = typeof content === 'object' && content !== null && 'pid' in content ? content.pid : undefined;
    return typeof pid === 'number' && Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch (error) {
    throw new EvercertError('FileConflict', `${marker} cannot be read: remove the folder or choose another one`, { cause: error });
  }
}

function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: there is one, of another user.
    return errnoOf(error) === 'EPERM';
  }
}
