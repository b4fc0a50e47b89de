import { parseDuration } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import type { Command } from 'commander';
import type { AdminApi } from '../client.ts';
import { contextsPath, isBy, loadMaterial, type ResolvedContext, resolveContext } from '../contexts/index.ts';
import { type Environment, line } from '../environment.ts';
import { usageError } from '../errors.ts';

/** What every command is handed. */
export interface CommandContext {
  environment: Environment;
  /** Sets the exit code of a command that ends without an error; 0 otherwise. */
  exit(code: number): void;
}

/** Options of the program itself, before or after the command's name. */
export interface GlobalOptions {
  config?: string;
  context?: string;
  cluster?: string;
  requestTimeout: string;
}

export interface Session {
  api: AdminApi;
  context: ResolvedContext;
  /** `--cluster`, else the context's; empty: none is named. */
  cluster: string;
  /** The cluster for a command that changes something in one. InvalidArgument when none is named. */
  requireCluster(): string;
}

export function globalsOf(command: Command): GlobalOptions {
  return command.optsWithGlobals<GlobalOptions>();
}

/** The contexts file that the options and the environment name. */
export function contextsPathOf(command: Command, { env, homeDir, cwd }: Environment): string {
  return contextsPath({ config: globalsOf(command).config, env, homeDir, cwd });
}

/** Connects as the options and the contexts file say, and closes the connection whatever happens. */
export async function withSession<T>(command: Command, environment: Environment, use: (session: Session) => Promise<T>): Promise<T> {
  const globals = globalsOf(command);
  const context = await resolveContext(contextsPathOf(command, environment), globals.context);
  const api = await environment.connect(context, { requestTimeoutMs: duration(globals.requestTimeout, '--request-timeout') });
  const cluster = globals.cluster ?? context.cluster ?? '';
  const requireCluster = (): string => {
    if (cluster !== '') return cluster;
    throw usageError(
      `this command needs a cluster: name it with --cluster, or give the context a default: evercert config set-context ${context.name} --cluster NAME`,
    );
  };
  try {
    const result = await use({ api, context, cluster, requireCluster });
    await tellOfRotation(api, context, environment);
    return result;
  } finally {
    api.close();
  }
}

/** The way from the CAs of the context to the coordinator leads over one that it does not hold: told while there is time to do something about it. */
async function tellOfRotation(api: AdminApi, context: ResolvedContext, environment: Environment): Promise<void> {
  const [leaf, ...others] = api.presented();
  // Without a certificate between leaf and root there was no rotation.
  if (!leaf || others.length < 2) return;
  const { trustAnchors } = await loadMaterial(context);
  if (trustAnchors.some((ca) => isBy([leaf], ca, environment.clock.nowMs()))) return;
  line(
    environment.err,
    `note: the coordinator's control CA was replaced, and context "${context.name}" trusts the one before only: run 'evercert config refresh'`,
  );
}

/** The cluster of a command that takes it as its argument: that one, else `--cluster`, else the context's. InvalidArgument: none, or two. */
export function clusterArgument(command: Command, session: Session, named: string | undefined): string {
  if (named === undefined) return session.requireCluster();
  if (globalsOf(command).cluster === undefined) return named;
  throw usageError('name the cluster once: as the argument or with --cluster');
}

/** Milliseconds of a duration such as `96h`, more than zero. InvalidArgument names the option. */
export function duration(text: string, option: string): number {
  let ms: number;
  try {
    ms = parseDuration(text);
  } catch (error) {
    throw new EvercertError('InvalidArgument', `${option}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  if (ms > 0) return ms;
  throw usageError(`${option} takes a duration of more than zero, as 30s, 10m or 96h, got "${text}"`);
}

export function protoDuration(ms: number): { seconds: number; nanos: number } {
  return { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 };
}

/** Collects a repeatable option. */
export function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

/** `key=value` pairs of a repeatable option. */
export function keyValues(pairs: readonly string[], option: string): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw usageError(`${option} takes KEY=VALUE, got "${pair}"`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** A whole number within bounds. */
export function wholeNumber(text: string, option: string, least: number, most: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw usageError(`${option} takes a whole number from ${least} to ${most}, got "${text}"`);
}
