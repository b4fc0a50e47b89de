import type { Command } from 'commander';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { nodes, parseTarget } from '../resources/index.ts';
import { type CommandContext, collect, withSession } from './session.ts';

const examples = `
Examples:
  # All certificates of one node, now
  evercert renew node/cp-1
  # Two of them
  evercert renew node/cp-1 --certificate apiserver --certificate etcd-server`;

export function addRenewCommand(program: Command, context: CommandContext): void {
  program
    .command('renew')
    .summary('have a node renew its certificates now')
    .description('Ask a node to renew some or all of its certificates now. The old pair stays in use until the new one is in place.')
    .argument('<target>', 'node/NAME')
    .argument('[names...]', 'names, when the target is the type "node"')
    .option('--certificate <name>', 'only this certificate; repeatable', collect)
    .addHelpText('after', examples)
    .action(async (target: string, names: string[], options: { certificate?: string[] }, command: Command) => {
      if (names.length === 0 && !target.includes('/')) throw usageError(`name the node: node/NAME, got "${target}"`);
      const parsed = parseTarget(target, names);
      if ((parsed.resource as unknown) !== nodes)
        throw usageError('only nodes renew certificates: name node/NAME, and which with --certificate');
      const { environment } = context;
      await withSession(command, environment, async (session) => {
        const cluster = session.requireCluster();
        for (const node of parsed.names) {
          const answer = await session.api.call('renewCertificates', { cluster, node, certificates: options.certificate ?? [] });
          for (const name of answer.certificates) line(environment.out, `certificate/${node}/${name} renewal requested`);
          if (!answer.delivered) line(environment.err, `node/${node} is not connected: it will renew them when it is`);
        }
      });
    });
}
