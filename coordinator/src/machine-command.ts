import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Clock } from '@evercert/shared/clock';
import { loadYaml, readConfigFile } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import { createLogger } from '@evercert/shared/logging';
import type { Command } from 'commander';
import { z } from 'zod';
import { configSchema } from './config.ts';
import { type ActionCall, type NodeProvisioner, openProvisioners } from './provisioning/index.ts';

/** What `evercert token create --print-agent-config` prints. */
const agentSchema = z.strictObject({
  coordinator: z.strictObject({ endpoints: z.array(z.string()).min(1), caPins: z.array(z.string()).min(1) }),
  node: z.strictObject({ name: z.string().min(1).max(253), addresses: z.array(z.string()).max(64).default([]) }),
  token: z.string().min(1).max(256),
});

interface Target {
  provisioner: string;
  cluster: string;
}

/** Adds `machine create` and `machine remove`: by hand what a replacement does by itself, so that a cluster's first machines are made as its later ones. */
export function addMachineCommand(program: Command, { clock, stdin }: { clock: Clock; stdin: Readable }): void {
  const machine = program.command('machine').description('Make and remove machines by a provisioner of this configuration');
  const targeted = (name: string): Command =>
    machine
      .command(name)
      .requiredOption('--provisioner <name>', "its name in the configuration's provisioners")
      .requiredOption('--cluster <name>', "the node's cluster");

  targeted('create')
    .description(
      'Make a machine for a new node; reads what `evercert token create --node-name NAME --print-agent-config` prints from standard input',
    )
    .option('--address <address...>', 'addresses of the machine, as they were registered with the token')
    .action(async (options: Target & { address?: string[] }, command: Command) => {
      const { coordinator, node, token } = loadYaml(agentSchema, await text(stdin), 'standard input');
      const whole = { ...node, addresses: options.address ?? node.addresses, labels: {}, dnsNames: [] };
      const facts = { token, tokenExpiresAtMs: clock.nowMs() + 3_600_000, ...coordinator };
      await act(command, options, (provisioner) =>
        provisioner.create({ ...callFor('create', options.cluster, whole), newNode: { ...whole, machine: '' }, join: facts }),
      );
    });

  targeted('remove')
    .description("End and delete a node's machine; the node stays known to the coordinator")
    .requiredOption('--node <name>', 'the node')
    .action(async (options: Target & { node: string }, command: Command) => {
      const node = { name: options.node, addresses: [], labels: {}, dnsNames: [] };
      await act(command, options, (provisioner) => provisioner.remove(callFor('remove', options.cluster, node)));
    });

  async function act(
    command: Command,
    { provisioner: name }: Target,
    work: (provisioner: NodeProvisioner) => Promise<{ message: string }>,
  ): Promise<void> {
    const { config: file } = command.optsWithGlobals<{ config: string }>();
    const { dataDir, log, provisioners: configs } = readConfigFile(configSchema, file);
    const logger = createLogger({ ...log, component: 'coordinator' });
    const config = configs[name];
    if (config === undefined) {
      throw new EvercertError('NotFound', `${file} has no provisioner ${name}; it has ${Object.keys(configs).join(', ') || 'none'}`);
    }
    const provisioners = await openProvisioners({ [name]: config }, { clock, logger, stateDir: join(dataDir, 'provisioning') });
    try {
      const provisioner = provisioners.get(name)!;
      if (!provisioner.sameName) {
        throw new EvercertError('FailedPrecondition', `${name} names its machines itself: make and remove them where it has them`);
      }
      process.stdout.write(`${(await work(provisioner)).message || 'done'}\n`);
    } finally {
      await provisioners.close();
    }
  }
}

/** No replacement has this id, and nobody repeats this key. */
function callFor(step: string, cluster: string, node: ActionCall['node']): ActionCall {
  const replacementId = `by-hand-${randomBytes(8).toString('hex')}`;
  return { idempotencyKey: `${replacementId}-${step}`, replacementId, attempt: 1, cluster, node, signal: new AbortController().signal };
}
