import { Argument, type Command } from 'commander';
import { completionScript, completionTree, type Shell, shells } from '../completion/index.ts';
import type { CommandContext } from './session.ts';

const examples = `
Examples:
  source <(evercert completion bash)
  source <(evercert completion zsh)
  evercert completion fish > ~/.config/fish/completions/evercert.fish`;

export function addCompletionCommand(program: Command, context: CommandContext): void {
  program
    .command('completion')
    .description('Print a completion script for a shell.')
    .addArgument(new Argument('<shell>', 'the shell').choices([...shells]))
    .addHelpText('after', examples)
    .action((shell: Shell) => context.environment.out(completionScript(shell, program.name(), completionTree(program))));
}
