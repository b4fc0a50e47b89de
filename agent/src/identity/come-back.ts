/** One try to come back on an expired identity. */
import type { Clock } from '@evercert/shared/clock';
import type { EvercertError } from '@evercert/shared/errors';
import type { RecoveryApi } from '../coordinator-api.ts';
import { callMs, requestFor } from './requests.ts';
import type { Identity, IdentityStore } from './store.ts';

export interface ComeBackOptions {
  store: IdentityStore;
  recovery: RecoveryApi;
  clock: Clock;
}

/** No two tries are further apart, whatever the coordinator wishes. */
const longestWaitMs = 30_000;
const shortestWaitMs = 2000;

/** The next key is durable before the request, as for every identity. Errors: those of RecoveryApi.recover and IdentityStore.install. */
export async function comeBack({ store, recovery, clock }: ComeBackOptions, expired: Identity, signal: AbortSignal): Promise<Identity> {
  const { privateKey, chain, nodeName, cluster, role } = expired;
  const csr = await requestFor(store, nodeName);
  const certificate = chain[0] ?? Buffer.alloc(0);
  const { issuedAtMs = clock.nowMs(), ...received } = await recovery.recover(
    { certificate, privateKey, csr },
    { deadlineMs: callMs, signal },
  );
  return store.install({ ...received, cluster, role, issuedAtMs });
}

/** The wait before the next try: the coordinator's hint, or a backoff, within bounds; a little spread, so that a fleet does not come together. `draw` is in [0, 1). */
export function waitToComeBackMs(error: EvercertError, failures: number, draw: number): number {
  const backoff = shortestWaitMs * 2 ** Math.min(Math.max(0, failures - 1), 10);
  return Math.ceil(Math.min(longestWaitMs, Math.max(shortestWaitMs, error.retryAfterMs ?? backoff)) * (0.75 + 0.25 * draw));
}

/** What an administrator can do about a refused recovery. */
export function adviceAfter({ code }: EvercertError, { nodeName, cluster, role }: Identity, tokenFile: string): string {
  const token = `make a token for this node ('evercert token create --cluster ${cluster} --role ${role} --node-name ${nodeName}') and run 'evercert-agent recover --token TOKEN' here, or put it into ${tokenFile}`;
  if (code === 'RecoveryNotOpen') {
    const node = role === 'control-plane' ? '' : ` --node ${nodeName}`;
    return `run 'evercert repair ${cluster}${node}', or ${token}`;
  }
  if (code === 'Unavailable' || code === 'DeadlineExceeded' || code === 'Overloaded')
    return 'nothing has to be done here once the coordinator answers';
  return token;
}
