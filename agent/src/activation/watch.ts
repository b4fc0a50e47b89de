/** How the end of a component and its return are seen from outside: by its process number, or by whether it answers. */
import { get as httpGet } from 'node:http';
import { get as httpsGet } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf } from '@evercert/shared/files';
import { readPid } from '../reload/pid.ts';
import type { ComponentWatch } from '../reload/types.ts';
import { parseVerifyUrl } from './verify.ts';

export interface WatchOptions {
  /** Pid files are looked for under it. */
  rootDir: string;
  clock: Clock;
  /** As process.kill. */
  kill: (pid: number, signal: NodeJS.Signals | 0) => void;
}

const dialMs = 3000;

/** Begins to watch: what runs now is what is to end. Errors: ReloadFailed (nothing can be watched by this text). */
export async function watchComponent(watch: string, options: WatchOptions): Promise<ComponentWatch> {
  if (watch.startsWith('/')) return watchProcess(join(options.rootDir, watch), options);
  if (/^https?:\/\//.test(watch)) return watchUrl(new URL(watch), options);
  const target = parseVerifyUrl(watch);
  if (!target)
    throw new EvercertError(
      'ReloadFailed',
      `${watch} is nothing that can be watched: a path, tls://HOST:PORT or an http(s) URL was expected`,
    );
  return { ended: () => refused(target.host, target.port, options), serving: () => answersTls(target.host, target.port, options) };
}

/** Whether anything that speaks TLS answers at `tls://HOST:PORT`. */
export async function answers(url: string, clock: Clock): Promise<boolean> {
  const target = parseVerifyUrl(url);
  return target !== undefined && answersTls(target.host, target.port, { clock });
}

/** A handshake that is refused tells as much as one that is completed. */
function answersTls(host: string, port: number, { clock }: Pick<WatchOptions, 'clock'>): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTls({ host, port, rejectUnauthorized: false });
    const timer = clock.after(dialMs, () => done(false));
    const done = (answer: boolean): void => {
      timer.cancel();
      socket.destroy();
      resolve(answer);
    };
    socket.once('secureConnect', () => done(true));
    socket.on('error', (error) => done(errnoOf(error).startsWith('ERR_SSL_')));
    socket.once('close', () => done(false));
  });
}

async function watchProcess(path: string, { kill }: WatchOptions): Promise<ComponentWatch> {
  const alive = (pid: number): boolean => {
    try {
      kill(pid, 0);
      return true;
    } catch (error) {
      // A process of another user is one, too.
      return errnoOf(error) === 'EPERM';
    }
  };
  const read = (): Promise<number | undefined> => readPid(path).catch(() => undefined);
  const before = await read();
  return {
    ended: async () => before === undefined || !alive(before),
    serving: async () => {
      const pid = await read();
      return pid !== undefined && pid !== before && alive(pid);
    },
  };
}

function watchUrl(url: URL, options: WatchOptions): ComponentWatch {
  const port = Number(url.port) || (url.protocol === 'https:' ? 443 : 80);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { ended: () => refused(host, port, options), serving: () => answers200(url, options) };
}

/** Nobody listens there. */
function refused(host: string, port: number, { clock }: Pick<WatchOptions, 'clock'>): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port });
    const timer = clock.after(dialMs, () => done(false));
    const done = (answer: boolean): void => {
      timer.cancel();
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => done(false));
    socket.on('error', (error) => done(errnoOf(error) === 'ECONNREFUSED'));
  });
}

function answers200(url: URL, { clock }: Pick<WatchOptions, 'clock'>): Promise<boolean> {
  return new Promise((resolve) => {
    const get = url.protocol === 'https:' ? httpsGet : httpGet;
    // A connection of its own: one that is kept alive would tell of the process before. Only whether it is well is asked, and nothing is told to it.
    const request = get(url, { agent: false, rejectUnauthorized: false }, (response) => {
      response.resume();
      done(response.statusCode === 200);
    });
    const timer = clock.after(dialMs, () => done(false));
    const done = (answer: boolean): void => {
      timer.cancel();
      request.destroy();
      resolve(answer);
    };
    request.on('error', () => done(false));
  });
}
