/** `evercert-agent recover`: what an administrator runs on a node that does not come back by itself. */
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { visibleLine } from '@evercert/shared/text';
import type { AgentConfig } from './config.ts';
import { isToken, writeToken } from './identity/token.ts';
import { askToRecover, fetchStatus } from './status/client.ts';
import type { AgentStatus } from './status/types.ts';

export interface RecoverOptions {
  config: Pick<AgentConfig, 'statusSocket' | 'tokenFile'>;
  /** Bootstrap token; absent: only asks the agent to try the recovery at once. */
  token?: string | undefined;
  clock: Clock;
  write: (text: string) => void;
}

const longestMs = 60_000;
const pollMs = 250;
/** A state with an error has to stand for so long to count as the outcome: the agent tells first what it is about to do. */
const settledMs = 4000;

/** Resolves with the exit code: 0 when the node has its identity or, without an agent, the token is in its place. Errors: InvalidToken, Unavailable, FileSystem. */
export async function runRecover({ config, token, clock, write }: RecoverOptions): Promise<number> {
  if (token !== undefined && !isToken(token)) {
    throw new EvercertError(
      'InvalidToken',
      "the bootstrap token has not the form of one (six, a dot, sixteen of a-z and 0-9); create one with 'evercert token create'",
    );
  }
  let before: AgentStatus;
  try {
    before = await fetchStatus(config.statusSocket);
    await askToRecover(config.statusSocket, token);
  } catch (caught) {
    const error = toEvercertError(caught);
    if (error.code !== 'Unavailable' || token === undefined) throw error;
    await writeToken(config.tokenFile, token);
    write(
      `No agent runs; the token is in ${config.tokenFile}. Start the agent ('systemctl start evercert-agent'): it comes back by itself.\n`,
    );
    return 0;
  }
  write('The agent asks the coordinator for an identity.\n');
  return await watchOutcome({ config, clock, write }, before.identity.serial);
}

async function watchOutcome({ config, clock, write }: Omit<RecoverOptions, 'token'>, serialBefore: string): Promise<number> {
  const startMs = clock.monotonicMs();
  let identity: AgentStatus['identity'];
  for (;;) {
    await clock.sleep(pollMs);
    ({ identity } = await fetchStatus(config.statusSocket));
    if (identity.state === 'Ready' && identity.serial !== serialBefore) {
      write(`Node ${identity.nodeName} is back: identity ${identity.serial}, good until ${identity.notAfter ?? 'its end'}.\n`);
      return 0;
    }
    const elapsedMs = clock.monotonicMs() - startMs;
    if (elapsedMs > longestMs || (elapsedMs > settledMs && (identity.code !== '' || identity.state === 'Ready'))) break;
  }
  if (identity.state === 'Ready') {
    write(`Node ${identity.nodeName} has an identity that is good until ${identity.notAfter ?? 'its end'}; nothing had to be done.\n`);
    return 0;
  }
  write(`The node is not back yet (${identity.state}${identity.code ? `, ${identity.code}` : ''}): ${visibleLine(identity.message)}\n`);
  return 1;
}
