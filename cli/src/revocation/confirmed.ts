import type { ApplyRequest, ApplyResponse } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import type { AdminApi } from '../client.ts';
import { fetchImpact, type Impact, takesControlPlane } from './impact.ts';

export interface Consequences {
  response: ApplyResponse;
  /** Absent: nothing is matched. */
  impact?: Impact;
}

/**
 * Applies documents that hold revocations: looks first, and does nothing that would take every control-plane node unless it was confirmed. FailedPrecondition: it was
 * not.
 */
export async function applyConfirmed(api: AdminApi, request: ApplyRequest, confirmed: boolean): Promise<Consequences> {
  const look = await withImpact(api, request.cluster, await api.call('apply', { ...request, dryRun: true }));
  if (request.dryRun) return look;
  if (!confirmed && look.impact && takesControlPlane(look.impact)) {
    const { all } = look.impact.controlPlane;
    throw new EvercertError(
      'FailedPrecondition',
      `this revocation takes certificates of every control-plane node (${all.join(', ')}): nothing was applied; look at it with --dry-run, then confirm it with --yes`,
    );
  }
  return withImpact(api, request.cluster, await api.call('apply', request));
}

async function withImpact(api: AdminApi, cluster: string, response: ApplyResponse): Promise<Consequences> {
  if (response.revocationMatches.length === 0) return { response };
  return { response, impact: await fetchImpact(api, cluster, response.revocationMatches) };
}
