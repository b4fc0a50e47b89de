import { visible } from '@evercert/shared/text';
import { version } from '@evercert/shared/version';
import { Command, CommanderError } from 'commander';
import { addApplyCommand } from './commands/apply.ts';
import { addAuditCommand } from './commands/audit.ts';
import { addBackupCommand } from './commands/backup.ts';
import { addCaCommand } from './commands/ca.ts';
import { addCertsCommand } from './commands/certs.ts';
import { addClusterCommand } from './commands/cluster.ts';
import { addCompleteNamesCommand } from './commands/complete-names.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addConfigCommand } from './commands/config.ts';
import { addCoordinatorMachineCommands } from './commands/coordinator-machine.ts';
import { addCordonCommands } from './commands/cordon.ts';
import { addDeleteCommand } from './commands/delete.ts';
import { addDescribeCommand } from './commands/describe.ts';
import { addDiffCommand } from './commands/diff.ts';
import { addEventsCommand } from './commands/events.ts';
import { addGetCommand } from './commands/get.ts';
import { addLogsCommand } from './commands/logs.ts';
import { addRenewCommand } from './commands/renew.ts';
import { addRepairCommand } from './commands/repair.ts';
import { addReplacementCommand } from './commands/replacement.ts';
import { addRevokeCommand } from './commands/revoke.ts';
import type { CommandContext } from './commands/session.ts';
import { addTokenCommand } from './commands/token.ts';
import { addValidateCommand } from './commands/validate.ts';
import { addVersionCommand } from './commands/version.ts';
import { type Environment, type ExitCode, line } from './environment.ts';
import { exitCodeOf, renderError } from './errors.ts';

const usageExitCode = 2;

const examples = `
Examples:
  evercert get nodes
  evercert describe node cp-1
  evercert token create --role worker --cluster demo
  evercert apply -f manifests/ --dry-run
  evercert certs check /etc/kubernetes

Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 not allowed, 4 not found, 5 conflict, 6 a precondition does not hold, 7 the coordinator cannot be reached.
'diff', 'repair' and 'certs check' have their own: see their help.`;

/** The whole command line. `context.exit` gets the exit code of commands that end without an error. */
export function createProgram(context: CommandContext): Command {
  const { out, err } = context.environment;
  const program = new Command('evercert')
    .description('Look after the certificates of Kubernetes-style clusters, over the admin API of an Evercert coordinator.')
    .version(version, '--version', 'show the version of this command')
    .option('--config <file>', 'contexts file (default: $EVERCERT_CONFIG, else ~/.config/evercert/config.yaml)')
    .option('--context <name>', 'context to use instead of the current one')
    .option('-c, --cluster <name>', "cluster to work on instead of the context's")
    .option('--request-timeout <duration>', 'longest time for one call to the coordinator', '30s')
    .configureOutput({ writeOut: out, writeErr: err })
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .exitOverride()
    .addHelpText('after', examples);
  const add = [
    addGetCommand,
    addDescribeCommand,
    addEventsCommand,
    addLogsCommand,
    addAuditCommand,
    addApplyCommand,
    addDiffCommand,
    addDeleteCommand,
    addClusterCommand,
    addCaCommand,
    addTokenCommand,
    addRenewCommand,
    addRepairCommand,
    addCordonCommands,
    addReplacementCommand,
    addRevokeCommand,
    addBackupCommand,
    addCoordinatorMachineCommands,
    addValidateCommand,
    addCertsCommand,
    addConfigCommand,
    addCompletionCommand,
    addCompleteNamesCommand,
    addVersionCommand,
  ];
  for (const addCommand of add) addCommand(program, context);
  return program;
}

/** Whatever comes from afar, errors and YAML included, cannot steer the terminal: this program itself writes no control characters. */
function tamed(environment: Environment): Environment {
  return { ...environment, out: (text) => environment.out(visible(text)), err: (text) => environment.err(visible(text)) };
}

/** Runs one command line (without node and script) and answers with its exit code; prints the error, if any. Never rejects. */
export async function runProgram(args: readonly string[], given: Environment): Promise<ExitCode> {
  const environment = tamed(given);
  let exitCode: ExitCode = 0;
  const program = createProgram({
    environment,
    exit: (code) => {
      exitCode = code;
    },
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    // commander has printed the help or the message already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : usageExitCode;
    line(environment.err, renderError(error));
    return exitCodeOf(error);
  }
}
