import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { EvercertError } from '@evercert/shared/errors';
import type { Command } from 'commander';
import type { CommandContext } from './session.ts';

/** Commands of `evercert-coordinator` that work on the coordinator's own machine, without it: this program hands them on. */
const handedOn = [
  { name: 'store', summary: "look at a coordinator's store, or move it to another (on the coordinator's machine)" },
  { name: 'emergency-certificates', summary: "sign a node's certificates while the store cannot be reached (on a coordinator's machine)" },
  { name: 'restore', summary: "fill a coordinator's empty store from a backup (on the coordinator's machine)" },
];

export function addCoordinatorMachineCommands(program: Command, context: CommandContext): void {
  for (const command of handedOn) handOn(program, command, context);
}

/** Adds a command below `parent` that runs the coordinator's one of the same name. */
export function handOn(parent: Command, { name, summary }: { name: string; summary: string }, { environment, exit }: CommandContext): void {
  parent
    .command(name)
    .summary(summary)
    .description(`Runs 'evercert-coordinator ${name}' with the same arguments, on the coordinator's machine.`)
    .argument('[arguments...]')
    .allowUnknownOption()
    .helpOption(false)
    .action(async (args: string[], _options: object, command: Command) => {
      // Here it is the coordinator's configuration that is meant.
      const { config } = command.optsWithGlobals<{ config?: string }>();
      const configured = config === undefined ? [] : ['--config', config];
      exit(await run(['evercert-coordinator', ...configured, name, ...args], environment.env));
    });
}

function run([program = '', ...args]: string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit', env });
    child.on('error', (cause) => {
      const message = `cannot run ${program}: this command works on the coordinator's own machine, where ${program} is in the PATH`;
      reject(new EvercertError('FailedPrecondition', message, { cause }));
    });
    child.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']));
  });
}
