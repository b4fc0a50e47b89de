/** Makes a component read its certificate again, in the way that the manifest says. */
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { readSmallFile } from '../files/tree.ts';
import { runProcess } from './process.ts';

/** Errors: ReloadFailed. */
export type Reloader = (spec: ReloadSpec, signal?: AbortSignal) => Promise<void>;

export interface ReloaderOptions {
  /** Pid files are looked for under it, as all declared paths. */
  rootDir: string;
  clock: Clock;
  logger: Logger;
  /** Of the agent; programs get its PATH and locale alone. */
  env: NodeJS.ProcessEnv;
  /** As process.kill. */
  kill?: (pid: number, signal: NodeJS.Signals | 0) => void;
  systemctl?: string;
}

const systemctlMs = 90_000;

export function createReloader(options: ReloaderOptions): Reloader {
  return async (spec, signal) => {
    switch (spec.type) {
      case 'systemd':
        return systemd(spec, options, signal);
      case 'signal':
        return signalProcess(spec, options);
      case 'command':
        return run(spec.argv, spec.timeoutSeconds * 1000, options, signal);
    }
  };
}

async function systemd(
  { unit, action }: Extract<ReloadSpec, { type: 'systemd' }>,
  options: ReloaderOptions,
  signal?: AbortSignal,
): Promise<void> {
  await run([options.systemctl ?? 'systemctl', '--no-ask-password', action, '--', unit], systemctlMs, options, signal);
}

async function run(argv: string[], timeoutMs: number, { clock, logger, env }: ReloaderOptions, signal?: AbortSignal): Promise<void> {
  const program = argv[0] ?? '';
  const result = await runProcess({ argv, timeoutMs, clock, env: minimal(env), signal }).catch((error: unknown) => {
    throw toEvercertError(error, 'ReloadFailed', `the reload program ${program} cannot be started; check that it exists and is executable`);
  });
  logger.debug('A reload program ended', { program, code: String(result.code ?? result.signal), output: result.output });
  if (result.code === 0) return;
  const how = result.timedOut
    ? `took longer than ${timeoutMs / 1000} s and was killed`
    : result.code === undefined
      ? `was killed by ${result.signal}`
      : `ended with exit code ${result.code}`;
  throw new EvercertError('ReloadFailed', `the reload program ${program} ${how}${result.output ? `: ${result.output.slice(0, 500)}` : ''}`);
}

/** Nothing of the agent's environment but what programs need to run. */
function minimal(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(['PATH', 'LANG', 'LC_ALL', 'TZ'].flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}

async function signalProcess(
  { pidPath, signal }: Extract<ReloadSpec, { type: 'signal' }>,
  { rootDir, kill = process.kill }: ReloaderOptions,
): Promise<void> {
  const path = join(rootDir, pidPath);
  const pid = await readPid(path);
  try {
    kill(pid, 0);
    kill(pid, signal);
  } catch (error) {
    throw toEvercertError(
      error,
      'ReloadFailed',
      `process ${pid} from ${path} cannot get ${signal}; check that the component runs and writes its pid file`,
    );
  }
}

const maxPidFileBytes = 4096;

async function readPid(path: string): Promise<number> {
  const content = await readSmallFile(path, maxPidFileBytes).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new EvercertError('ReloadFailed', `the pid file cannot be read; check that the component runs and writes it: ${why}`, {
      cause: error,
    });
  });
  const text = content.toString('utf8').trim();
  const pid = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  // 0 is our own process group, 1 is init: no component is either. What the file holds is not told: the manifest may name any file, and errors travel.
  if (pid <= 1 || pid === process.pid) {
    throw new EvercertError(
      'ReloadFailed',
      `the pid file ${path} holds no process number; one above 1 was expected, and not the agent's own`,
    );
  }
  return pid;
}
