/** systemd's notification protocol, sd_notify(3), through `systemd-notify`: Node has no datagram sockets in the file system. The unit needs `NotifyAccess=all`. */
import { execFile } from 'node:child_process';
import type { Clock, Timer } from '../clock/index.ts';
import type { Logger } from '../logging/index.ts';

export interface SystemdNotifier {
  /** False when systemd does not wait for notifications; everything below then does nothing. */
  readonly enabled: boolean;
  ready(status: string): Promise<void>;
  status(text: string): Promise<void>;
  stopping(): Promise<void>;
  /** Sends WATCHDOG=1 at half of WATCHDOG_USEC, each time only if `alive` says so. Returns how to stop; does nothing when the unit has no watchdog. */
  startWatchdog(alive: () => boolean): () => void;
}

export interface SystemdOptions {
  env: NodeJS.ProcessEnv;
  clock: Clock;
  logger: Logger;
  pid?: number;
  /** `systemd-notify` from the PATH by default. */
  command?: string;
}

const commandTimeoutMs = 5000;

/** Never throws: a notification that fails is logged, and systemd acts on its absence. */
export function createSystemdNotifier(options: SystemdOptions): SystemdNotifier {
  const { env, clock, logger, pid = process.pid, command = 'systemd-notify' } = options;
  const enabled = (env['NOTIFY_SOCKET'] ?? '') !== '';
  const send = (...assignments: string[]): Promise<void> => {
    if (!enabled) return Promise.resolve();
    return new Promise((resolve) => {
      execFile(command, assignments, { env, timeout: commandTimeoutMs }, (error) => {
        if (error) logger.warn('systemd could not be notified', { error: error.message, command });
        resolve();
      });
    });
  };
  return {
    enabled,
    ready: (status) => send('READY=1', statusLine(status)),
    status: (text) => send(statusLine(text)),
    stopping: () => send('STOPPING=1'),
    startWatchdog: (alive) => {
      const intervalMs = watchdogIntervalMs(env, pid);
      if (!enabled || intervalMs === undefined) return () => {};
      let timer: Timer;
      const beat = (): void => {
        timer = clock.after(intervalMs, beat);
        if (alive()) void send('WATCHDOG=1');
        else logger.error('The main loop has not moved for too long; the watchdog is not fed');
      };
      beat();
      return () => timer.cancel();
    },
  };
}

/** Half of WATCHDOG_USEC in milliseconds; undefined when there is no watchdog or it is meant for another process. */
export function watchdogIntervalMs(env: NodeJS.ProcessEnv, pid: number): number | undefined {
  const microseconds = Number(env['WATCHDOG_USEC']);
  const wantedPid = env['WATCHDOG_PID'];
  if (!Number.isFinite(microseconds) || microseconds <= 0) return undefined;
  if (wantedPid !== undefined && wantedPid !== '' && Number(wantedPid) !== pid) return undefined;
  return Math.max(1, microseconds / 2000);
}

/** One line, of a length that `systemctl status` can show. */
function statusLine(text: string): string {
  return `STATUS=${text.replaceAll(/\s+/g, ' ').slice(0, 200)}`;
}
