import type { Command } from 'commander';
import { line } from '../environment.ts';
import { exitCodeOf, renderError } from '../errors.ts';
import { unifiedDiff } from '../output/diff.ts';
import { sendDocuments } from './apply.ts';
import { readDocuments } from './documents.ts';
import { type CommandContext, collect, withSession } from './session.ts';

interface DiffOptions {
  filename?: string[];
  recursive?: boolean;
}

/** As `kubectl diff`: 1 means that there are differences, so that errors are more. */
const differencesExitCode = 1;
const leastErrorExitCode = 2;

const examples = `
Examples:
  evercert diff -f manifests/
  # In a script: 0 nothing to do, 1 differences, more than 1 an error
  evercert diff -f manifests/ > changes.diff || test $? -eq 1`;

export function addDiffCommand(program: Command, context: CommandContext): void {
  program
    .command('diff')
    .summary('show what apply would change')
    .description(
      'Show the difference between the live objects and what apply would make of them. Exit code: 0 none, 1 differences, more than 1 an error.',
    )
    .option('-f, --filename <file>', 'file, folder, or - for standard input; repeatable', collect)
    .option('-R, --recursive', 'go into the folders of folders')
    .addHelpText('after', examples)
    .action(async (options: DiffOptions, command: Command) => {
      const { environment } = context;
      try {
        const { sources, documents } = await readDocuments(environment, options.filename ?? [], options.recursive ?? false);
        const diffs = await withSession(command, environment, async (session) =>
          (await sendDocuments(command, session, sources, documents, true)).objects.map(unifiedDiff),
        );
        environment.out(diffs.join(''));
        context.exit(diffs.some((diff) => diff !== '') ? differencesExitCode : 0);
      } catch (error) {
        line(environment.err, renderError(error));
        context.exit(Math.max(leastErrorExitCode, exitCodeOf(error)));
      }
    });
}
