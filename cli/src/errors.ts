import { formatDuration } from '@evercert/shared/config';
import { EvercertError, errorCodes, formatFault } from '@evercert/shared/errors';

/** As kubectl words it: what the server refused, a server that cannot be reached, and everything that went wrong on this side. */
export function renderError(error: unknown): string {
  if (!(error instanceof EvercertError)) return `error: ${error instanceof Error ? error.message : String(error)}`;
  const retry =
    error.retryAfterMs === undefined
      ? []
      : [`Try again in ${formatDuration(Math.max(1000, Math.ceil(error.retryAfterMs / 1000) * 1000))}.`];
  return [headline(error), ...error.faults.map((fault) => `  ${formatFault(fault)}`), ...retry].join('\n');
}

function headline(error: EvercertError): string {
  const server = error.metadata['server'];
  if (server === undefined) return `error: ${error.message}`;
  if (error.code === 'Unavailable' && !answered(error)) {
    return `Unable to connect to the server ${server}: ${error.message}\nCheck that the coordinator runs and that the context's server is its address (evercert config get-contexts).`;
  }
  return `Error from server (${error.code}): ${error.message}`;
}

/** True: the coordinator itself said it, with details; false: the transport gave up. */
function answered(error: EvercertError): boolean {
  const metadata = (error.cause as { metadata?: { get(key: string): unknown[] } } | undefined)?.metadata;
  return (metadata?.get('grpc-status-details-bin').length ?? 0) > 0;
}

/** The one table's exit code; anything unforeseen is Internal. */
export function exitCodeOf(error: unknown): number {
  return error instanceof EvercertError ? error.exitCode : errorCodes.Internal.exit;
}

/** The user's mistake on the command line; exit code 2. */
export function usageError(message: string): EvercertError {
  return new EvercertError('InvalidArgument', message);
}
