/** The command line of the agent. */
import type { Clock } from '@evercert/shared/clock';
import { toCommentedYaml } from '@evercert/shared/config';
import { describeError, toEvercertError } from '@evercert/shared/errors';
import { version } from '@evercert/shared/version';
import { Command, Option } from 'commander';
import { type AgentConfig, agentConfigSchema, readAgentConfig } from './config.ts';
import { runRecover } from './recover-command.ts';
import { fetchStatus } from './status/client.ts';
import { statusTable } from './status/table.ts';
import { allReady } from './status/types.ts';

export interface CliOptions {
  write: (text: string) => void;
  writeError: (text: string) => void;
  clock: Clock;
  /** Runs the agent until it is told to stop. */
  run: (config: AgentConfig) => Promise<void>;
}

const defaultConfigPath = '/etc/evercert-agent/agent.yaml';
const defaultSocket = '/run/evercert-agent/status.sock';

/** Runs one command; resolves with the exit code. `argv` is without the program's name. */
export async function runCli(argv: string[], options: CliOptions): Promise<number> {
  let exitCode = 0;
  const program = new Command('evercert-agent')
    .description("Keeps this node's certificates alive.")
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: options.write, writeErr: options.writeError })
    .enablePositionalOptions();
  const configOption = (): Option => new Option('--config <file>', 'configuration file').default(defaultConfigPath);
  const printOption = (): Option => new Option('--print-config', 'print the configuration with every default, and end');
  const run = async (flags: { config: string; printConfig?: boolean }): Promise<void> => {
    const config = readAgentConfig(flags.config);
    if (flags.printConfig) options.write(toCommentedYaml(withoutToken(config), agentConfigSchema));
    else await options.run(config);
  };
  program.addOption(configOption()).addOption(printOption()).action(run);
  program.command('run').description('run the agent (the default)').addOption(configOption()).addOption(printOption()).action(run);
  program
    .command('status')
    .description('show what the running agent holds; exit code 0 when all is ready, 1 when not, 7 when no agent answers')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .option('--socket <path>', 'status socket of the agent', defaultSocket)
    .action(async ({ output, socket }: { output: string; socket: string }) => {
      const status = await fetchStatus(socket);
      options.write(output === 'json' ? `${JSON.stringify(status, null, 2)}\n` : statusTable(status, options.clock.nowMs()));
      exitCode = allReady(status) ? 0 : 1;
    });
  program
    .command('recover')
    .description('bring this node back at once: by a token, or by its expired identity; exit code 0 when it is back, 1 when not')
    .addOption(configOption())
    .option('--token <token>', "bootstrap token for this node's name, from 'evercert token create'; written to the token file")
    .option(
      '--ca-pin <pin...>',
      'the control CA has this public key, and no other is to be trusted any more; the pin that `evercert version` shows',
    )
    .action(async ({ config, token, caPin: caPins }: { config: string; token?: string; caPin?: string[] }) => {
      exitCode = await runRecover({ config: readAgentConfig(config), token, caPins, clock: options.clock, write: options.write });
    });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Commander has printed its own complaint, or its help.
    if (isCommanderError(error)) return error.exitCode === 0 ? 0 : 2;
    options.writeError(`evercert-agent: ${describeError(error)}\n`);
    return toEvercertError(error).exitCode;
  }
}

/** A printed configuration gets copied about: the token stays out of it. */
function withoutToken({ token: _token, ...rest }: AgentConfig): AgentConfig {
  return rest;
}

function isCommanderError(error: unknown): error is Error & { exitCode: number } {
  return error instanceof Error && error.name === 'CommanderError';
}
