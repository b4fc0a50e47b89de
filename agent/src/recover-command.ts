/** `evercert-agent recover`: what an administrator runs on a node that does not come back by itself. */
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { visibleLine } from '@evercert/shared/text';
import { type AgentConfig, pinSchema } from './config.ts';
import { IdentityStore } from './identity/store.ts';
import { isToken, writeToken } from './identity/token.ts';
import { createStateFolder } from './state/folder.ts';
import { askToRecover, fetchStatus } from './status/client.ts';
import type { AgentStatus } from './status/types.ts';

export interface RecoverOptions {
  config: Pick<AgentConfig, 'statusSocket' | 'tokenFile' | 'stateDir' | 'node' | 'coordinator'>;
  /** Bootstrap token; absent: only asks the agent to try the recovery at once. */
  token?: string | undefined;
  /** Public keys of the control CA that alone are to be trusted from here on; absent: what the agent trusts stays. */
  caPins?: string[] | undefined;
  clock: Clock;
  write: (text: string) => void;
}

const longestMs = 60_000;
const pollMs = 250;
/** A state with an error has to stand for so long to count as the outcome: the agent tells first what it is about to do. */
const settledMs = 4000;

/** Resolves with the exit code: 0 when the node has its identity or, without an agent, token and pins are in their place. Errors: InvalidToken, Unavailable, FileSystem. */
export async function runRecover({ config, token, caPins, clock, write }: RecoverOptions): Promise<number> {
  checkPins(caPins);
  if (token !== undefined && !isToken(token)) {
    throw new EvercertError(
      'InvalidToken',
      "the bootstrap token has not the form of one (six, a dot, sixteen of a-z and 0-9); create one with 'evercert token create'",
    );
  }
  let before: AgentStatus;
  try {
    before = await fetchStatus(config.statusSocket);
    await askToRecover(config.statusSocket, { token, caPins });
  } catch (caught) {
    const error = toEvercertError(caught);
    if (error.code !== 'Unavailable' || (token === undefined && caPins === undefined)) throw error;
    if (caPins !== undefined) await trustOnly(config, caPins);
    if (token !== undefined) await writeToken(config.tokenFile, token);
    const did = [
      ...(caPins === undefined ? [] : ['it will trust this control CA and no other']),
      ...(token === undefined ? [] : [`the token is in ${config.tokenFile}`]),
    ];
    write(`No agent runs; ${did.join(', and ')}. Start the agent ('systemctl start evercert-agent'): it comes back by itself.\n`);
    return 0;
  }
  write(
    caPins === undefined
      ? 'The agent asks the coordinator for an identity.\n'
      : 'The agent trusts this control CA and no other, and looks for a coordinator that stands under it.\n',
  );
  return await watchOutcome({ config, clock, write }, { serialBefore: before.identity.serial, caPins });
}

/** What the agent would do: it does not run, so that nobody else writes there. */
async function trustOnly({ stateDir, node, coordinator }: RecoverOptions['config'], caPins: string[]): Promise<void> {
  const folder = createStateFolder(stateDir);
  const store = new IdentityStore({ folder, logger: silentLogger, nodeName: node.name, caPins: coordinator.caPins });
  await store.load();
  await store.trustOnly(caPins);
}

function checkPins(caPins: string[] | undefined): void {
  const wrong = caPins?.find((each) => !pinSchema.safeParse(each).success);
  if (wrong === undefined) return;
  throw new EvercertError(
    'InvalidArgument',
    `--ca-pin ${wrong}: expected "sha256:" and 64 hexadecimal digits, as 'evercert version' prints it`,
  );
}

/** Whether the agent has found a coordinator by one of the pins, and what it is connected to stands under it. */
function foundBy({ controlTrust, connection }: AgentStatus, caPins: string[] | undefined): boolean {
  if (caPins === undefined) return false;
  return connection.state === 'Connected' && controlTrust.pins.some((each) => caPins.some((pin) => pin.toLowerCase() === each));
}

async function watchOutcome(
  { config, clock, write }: Omit<RecoverOptions, 'token' | 'caPins'>,
  { serialBefore, caPins }: { serialBefore: string; caPins: string[] | undefined },
): Promise<number> {
  const startMs = clock.monotonicMs();
  let status: AgentStatus;
  let identity: AgentStatus['identity'];
  for (;;) {
    await clock.sleep(pollMs);
    status = await fetchStatus(config.statusSocket);
    ({ identity } = status);
    if (identity.state === 'Ready' && (identity.serial !== serialBefore || foundBy(status, caPins))) {
      write(`Node ${identity.nodeName} is back: identity ${identity.serial}, good until ${identity.notAfter ?? 'its end'}.\n`);
      return 0;
    }
    const elapsedMs = clock.monotonicMs() - startMs;
    if (elapsedMs > longestMs || (elapsedMs > settledMs && settled(status, caPins))) break;
  }
  if (caPins !== undefined && status.connection.state !== 'Connected' && identity.code === '') {
    write(`No coordinator was found by this pin yet: ${visibleLine(status.connection.lastError || 'none answers')}\n`);
    return 1;
  }
  if (identity.state === 'Ready') {
    write(`Node ${identity.nodeName} has an identity that is good until ${identity.notAfter ?? 'its end'}; nothing had to be done.\n`);
    return 0;
  }
  write(`The node is not back yet (${identity.state}${identity.code ? `, ${identity.code}` : ''}): ${visibleLine(identity.message)}\n`);
  return 1;
}

/** Nothing more is to be expected soon. */
function settled({ identity, connection }: AgentStatus, caPins: string[] | undefined): boolean {
  if (identity.code !== '') return true;
  return identity.state === 'Ready' && (caPins === undefined || connection.lastErrorCode === 'PinMismatch');
}
