/** Calls without a stream, which any coordinator may answer. */
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { CallLimits } from '../coordinator-api.ts';
import type { Endpoints } from './endpoints.ts';

export interface AskOptions {
  endpoints: Pick<Endpoints, 'order' | 'failed'>;
  /** In [0, 1). */
  random: () => number;
}

/** While there is another to be asked, one that says nothing is given up after this. */
const impatientMs = 8000;

/** After these another coordinator is asked; the higher, the more it tells. What a coordinator says of the node itself counts wherever it was said. */
const elsewhere: Partial<Record<string, number>> = {
  Unavailable: 1,
  DeadlineExceeded: 1,
  // Somebody else has the address now.
  PinMismatch: 2,
  InvalidCertificate: 2,
  StoreFailure: 3,
  Overloaded: 3,
};

/** Asks one endpoint after the other until one answers. Errors: what the call is answered with, else of all failures the one that tells most. */
export async function firstThatAnswers<T>(
  { endpoints, random }: AskOptions,
  ask: (endpoint: string, limits: CallLimits) => Promise<T>,
  limits: CallLimits,
): Promise<T> {
  let worst = new EvercertError('Unavailable', 'no coordinator endpoint is configured');
  const order = endpoints.order();
  for (const [index, endpoint] of order.entries()) {
    if (limits.signal?.aborted) throw new EvercertError('Cancelled', 'the agent stops');
    const last = index === order.length - 1;
    const deadlineMs = last ? limits.deadlineMs : Math.min(limits.deadlineMs, impatientMs);
    try {
      return await ask(endpoint, { ...limits, deadlineMs });
    } catch (caught) {
      const error = toEvercertError(caught);
      if (elsewhere[error.code] === undefined) throw error;
      endpoints.failed(endpoint, { draw: random(), hintMs: error.retryAfterMs });
      if (index === 0 || (elsewhere[error.code] ?? 0) > (elsewhere[worst.code] ?? 0)) worst = error;
    }
  }
  throw worst;
}
