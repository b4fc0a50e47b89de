import { version } from '@evercert/shared/version';
import { type Command, Option } from 'commander';
import { line } from '../environment.ts';
import { renderObject } from '../output/objects.ts';
import { type CommandContext, withSession } from './session.ts';

export function addVersionCommand(program: Command, context: CommandContext): void {
  program
    .command('version')
    .summary('show the versions of this command and of the coordinator')
    .description('Show the versions of this command and of the coordinator, and who the coordinator takes you for.')
    .option('--client', 'only this command; asks no coordinator')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json', 'yaml']))
    .addHelpText('after', '\nExamples:\n  evercert version\n  evercert version --client -o json')
    .action(async (options: { client?: boolean; output?: 'json' | 'yaml' }, command: Command) => {
      const { out } = context.environment;
      const server = options.client
        ? undefined
        : await withSession(command, context.environment, ({ api }) => api.call('getServerInfo', {}));
      if (options.output) {
        out(renderObject({ clientVersion: version, ...(server && { server }) }, options.output));
        return;
      }
      line(out, `Client Version: ${version}`);
      if (!server) return;
      line(out, `Server Version: ${server.version}`);
      line(out, `Server Address: ${server.address}`);
      line(out, `Identity: ${server.identity}`);
      // The present one first; a coordinator of an earlier release tells only that.
      for (const pin of server.caPins.length > 0 ? server.caPins : [server.caPin]) line(out, `CA Pin: ${pin}`);
    });
}
