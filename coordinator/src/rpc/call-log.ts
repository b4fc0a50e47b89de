import { EvercertError } from '@evercert/shared/errors';
import { callReason, type EventRecorder } from '../events/recorder.ts';
import { actorOf, type Caller } from './callers.ts';

const adminService = '/evercert.v1.AdminService/';

/** Calls that change nothing and give no secret. All others are entries of the audit log; one that is new here is one of them. */
const reads: ReadonlySet<string> = new Set(
  [
    'ListClusters',
    'ListCertificateAuthorities',
    'ListNodes',
    'ListCertificates',
    'ListManifests',
    'ListRevocations',
    'ListReplacements',
    'PlanReplacements',
    'ListTokens',
    'ListEvents',
    'Watch',
    'ListCertificateAuthorityRotations',
    'ListCoordinators',
    'ListAuditEntries',
    'GetServerInfo',
  ].map((name) => `${adminService}${name}`),
);

/** Of a request, for whoever looks for what was done to something: names only. */
const told = ['cluster', 'name', 'node', 'kind', 'id', 'serial', 'dryRun'] as const;
const maxTold = 253;

export interface EndedCall {
  method: string;
  caller: Caller;
  peer: string;
}

/** Tells the audit log of admins' calls: who called what, from where, and how it ended. What a call has changed is told by an event of its own, written with the change. */
export class CallLog {
  readonly #events: EventRecorder;
  readonly #reads: boolean;

  constructor(options: { events: EventRecorder; reads: boolean }) {
    this.#events = options.events;
    this.#reads = options.reads;
  }

  /** @param error undefined: it succeeded. */
  ended({ method, caller, peer }: EndedCall, request: unknown, error: unknown): void {
    if (caller.kind !== 'admin' || !method.startsWith(adminService) || (!this.#reads && reads.has(method))) return;
    const outcome = error === undefined ? 'OK' : codeOf(error);
    this.#events.record({
      actor: actorOf(caller),
      reason: callReason,
      method,
      warning: error !== undefined,
      serial: caller.serial,
      message: `${method.slice(adminService.length)}: ${error instanceof EvercertError ? error.message : outcome}`,
      ...(error !== undefined && { errorCode: codeOf(error) }),
      details: { ...namesIn(request), peer, outcome },
    });
  }

  /** Somebody who may not call it. The same of the same party is one entry a minute. */
  refused(method: string, caller: Caller | undefined, peer: string, error: unknown): void {
    if (!method.startsWith(adminService)) return;
    const actor = caller ? actorOf(caller) : 'anonymous';
    const address = peer.replace(/:\d+$/, '');
    const code = codeOf(error);
    this.#events.recordOncePerMinute(actor, ['CallRefused', method, address, code], {
      actor,
      reason: 'CallRefused',
      method,
      warning: true,
      errorCode: code,
      message: `refused ${method.slice(adminService.length)}: ${error instanceof EvercertError ? error.message : code}`,
      details: { peer },
    });
  }
}

function codeOf(error: unknown): EvercertError['code'] {
  return error instanceof EvercertError ? error.code : 'Internal';
}

function namesIn(request: unknown): Record<string, string> {
  if (typeof request !== 'object' || request === null) return {};
  const fields = request as Record<string, unknown>;
  return Object.fromEntries(
    told.flatMap((name) => {
      const value = fields[name];
      const text = typeof value === 'string' ? value : value === true ? 'true' : '';
      return text === '' ? [] : [[name, text.slice(0, maxTold)]];
    }),
  );
}
