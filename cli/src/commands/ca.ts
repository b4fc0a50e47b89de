import type { Command } from 'commander';
import { addInstallCommand } from './ca-install.ts';
import { addOfflineCommands } from './ca-offline.ts';
import { addRotateCommand } from './ca-rotate.ts';
import { addRotationSetCommands } from './ca-set.ts';
import { addRotationStatusCommand } from './ca-status.ts';
import type { CommandContext } from './session.ts';

export function addCaCommand(program: Command, context: CommandContext): void {
  const ca = program
    .command('ca')
    .summary("rotate CAs' keys, and keep roots offline")
    .description('Rotate the keys of CAs, and keep their roots offline. Show CAs with "evercert get cas".');
  addRotateCommand(ca, context);
  addRotationStatusCommand(ca, context);
  addRotationSetCommands(ca, context);
  addInstallCommand(ca, context);
  addOfflineCommands(ca, context);
}
