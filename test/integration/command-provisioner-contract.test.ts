import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { NodeProvisioner } from '@evercert/coordinator/provisioning';
import { openProvisioners, provisionersSchema } from '@evercert/coordinator/provisioning';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { describeProvisionerContract, type ProvisionerFixture } from '../contract/provisioner.ts';
import { temporaryFolder } from '../support/live.ts';
import { installOperator, installProgram } from '../support/operator.ts';

/** A machine is a file: its name is the node's, its content another one each time. */
function hooksFor(folder: string): Record<string, string> {
  const hook = (text: string): string => `#!/bin/sh
set -eu
if [ -e '${folder}/stall' ]; then sleep 60; fi
machine='${folder}/machines/'"$EVERCERT_NODE"
${text}
`;
  return {
    cordon: hook(':'),
    uncordon: hook(':'),
    drain: hook(':'),
    remove: hook('rm -f "$machine"'),
    create: hook(
      'test -e "$EVERCERT_JOIN/token"; if [ ! -e "$machine" ]; then echo "$EVERCERT_KEY $$" >"$machine"; fi; echo "made $EVERCERT_NODE"',
    ),
  };
}

const allocate = `#!${process.execPath}
const { node, replacement } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify({ nodeName: node.name + '-' + replacement.attempt, addresses: ['127.0.0.77'] }));
`;

async function open(names: 'same' | 'other'): Promise<ProvisionerFixture> {
  const folder = temporaryFolder('operator');
  const machines = join(folder, 'machines');
  await mkdir(machines);
  const { command } = await installOperator(folder, hooksFor(folder));
  const step = { command, timeout: '30s' };
  const steps = { cordon: step, uncordon: step, drain: step, remove: step, create: step };
  const named = names === 'other' ? { allocate: installProgram(join(folder, 'allocate.cjs'), allocate) } : {};
  const configs = provisionersSchema.parse({ op: { type: 'command', ...steps, ...named } });
  const opened: { close(): Promise<void> }[] = [];
  return {
    open: async () => {
      const provisioners = await openProvisioners(configs, { clock: systemClock, logger: silentLogger, stateDir: join(folder, 'runs') });
      opened.push(provisioners);
      return provisioners.get('op') as NodeProvisioner;
    },
    machines: async () => readdirSync(machines).map((name) => ({ name, id: readFileSync(join(machines, name), 'utf8') })),
    stall: async () => writeFileSync(join(folder, 'stall'), ''),
    cleanup: async () => {
      await Promise.all(opened.map((each) => each.close()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

describeProvisionerContract("the operator's own executables", () => open('same'));
describeProvisionerContract("the operator's own executables that name new machines", () => open('other'));
