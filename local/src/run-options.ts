import { tryParseDuration } from '@evercert/shared/config';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type ClusterKeyAlgorithm, maxCoordinators } from './cluster/options.ts';
import type { Layout } from './etcd/credentials.ts';

/** What `npm start -- …` was asked to do. */
export interface RunOptions {
  /** Undefined: until it is stopped. */
  durationMs: number | undefined;
  leafLifetimeSeconds: number;
  keyAlgorithm: ClusterKeyAlgorithm;
  layout: Layout;
  coordinators: number;
  workers: number;
  etcd: boolean;
  /** Path of the binary; true: wherever it is found. Undefined: no API servers. */
  kubeApiServer: string | true | undefined;
  /** Undefined: a new folder under .evercert-local in the current folder. */
  runDir: string | undefined;
  summary: 'text' | 'json';
}

/** A help text that was asked for, or the wrong use of an option: what to print, and the exit code. */
export interface Usage {
  text: string;
  exitCode: number;
}

const minLeafLifetimeSeconds = 10;
const maxWorkers = 100;

interface Raw {
  duration?: number;
  leafLifetime: number;
  keyAlgorithm: ClusterKeyAlgorithm;
  layout: Layout;
  coordinators: number;
  workers: number;
  etcd: boolean;
  kubeApiserver?: string | true;
  runDir?: string;
  summary: 'text' | 'json';
}

/** Parses the arguments (without node and script). Wrong use is told in the returned Usage, never thrown. */
export function parseRunOptions(args: readonly string[]): RunOptions | Usage {
  let output = '';
  const command = define().configureOutput({
    writeOut: (text) => {
      output += text;
    },
    writeErr: (text) => {
      output += text;
    },
  });
  try {
    command.parse(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { text: output, exitCode: error.exitCode === 0 ? 0 : 2 };
  }
  const { duration, leafLifetime, kubeApiserver, runDir, ...rest } = command.opts<Raw>();
  return { ...rest, durationMs: duration, leafLifetimeSeconds: leafLifetime / 1000, kubeApiServer: kubeApiserver, runDir };
}

function define(): Command {
  return new Command('npm start --')
    .description(
      'Runs a coordinator, five agents and, where there is an etcd binary, a three-member etcd with the issued certificates, all on this machine.',
    )
    .exitOverride()
    .allowExcessArguments(false)
    .option('--duration <TIME>', 'end after so long, counted from the start (default: run until Ctrl-C)', duration)
    .addOption(
      new Option('--leaf-lifetime <TIME>', 'life of every leaf certificate, in whole seconds')
        .argParser(leafLifetime)
        .default(60_000, '1m'),
    )
    .addOption(new Option('--key-algorithm <NAME>', 'keys of CAs and leaves').choices(['ecdsa-p384', 'rsa-4096']).default('ecdsa-p384'))
    .addOption(new Option('--layout <NAME>', 'which CA signs what').choices(['founding', 'kubeadm']).default('founding'))
    .option('--coordinators <N>', 'several share an etcd that is run for them, and one of them leads', coordinators, 1)
    .option('--workers <N>', 'worker nodes beside the three control-plane nodes', workers, 2)
    .option('--no-etcd', 'run no etcd members and write nothing')
    .option('--kube-apiserver [PATH]', 'run a real kube-apiserver on every control-plane node, and write and read through all of them')
    .option('--run-dir <DIR>', 'new or empty folder for everything (default: .evercert-local/TIME)')
    .addOption(new Option('--summary <FORM>', 'what is printed at the end').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nTIME is a number with a unit, as 90s or 10m. kube-apiserver is looked for in $KUBE_BIN_DIR, ../shared/kube and PATH where no PATH is given. RSA 4096 keys take about a second of CPU each: give them a --leaf-lifetime of 3m or more.',
    );
}

function duration(text: string): number {
  const ms = tryParseDuration(text);
  if (ms === undefined || ms <= 0) throw new InvalidArgumentError('Expected a time with a unit, as 90s or 10m.');
  return ms;
}

function leafLifetime(text: string): number {
  const ms = duration(text);
  if (ms % 1000 !== 0 || ms < minLeafLifetimeSeconds * 1000) {
    throw new InvalidArgumentError(`Expected whole seconds, ${minLeafLifetimeSeconds}s or more.`);
  }
  return ms;
}

function coordinators(text: string): number {
  const count = /^\d$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= 1 && count <= maxCoordinators)) throw new InvalidArgumentError(`Expected a whole number from 1 to ${maxCoordinators}.`);
  return count;
}

function workers(text: string): number {
  const count = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count <= maxWorkers)) throw new InvalidArgumentError(`Expected a whole number from 0 to ${maxWorkers}.`);
  return count;
}

export function isUsage(value: RunOptions | Usage): value is Usage {
  return 'exitCode' in value;
}
