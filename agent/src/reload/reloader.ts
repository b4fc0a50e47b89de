/** Makes a component read its certificate again, in the way that the manifest says. */
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { readPid } from './pid.ts';
import { runProcess } from './process.ts';
import type { StaticPods } from './static-pod.ts';
import type { Reloader } from './types.ts';

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
  /** Starts static pods anew; absent: none are here. */
  staticPods?: Pick<StaticPods, 'restart'>;
}

const systemctlMs = 90_000;

export function createReloader(options: ReloaderOptions): Reloader {
  return async (spec, { signal } = {}) => {
    switch (spec.type) {
      case 'systemd':
        return systemd(spec, options, signal);
      case 'signal':
        return signalProcess(spec, options);
      case 'command':
        return run(spec.argv, spec.timeoutSeconds * 1000, options, signal);
      case 'static-pod':
        if (options.staticPods) return options.staticPods.restart(spec, signal);
        throw new EvercertError('ReloadFailed', `this agent restarts no static pods; ${spec.manifestPath} stays as it is`);
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
