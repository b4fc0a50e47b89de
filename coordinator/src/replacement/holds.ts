/** What holds replacements back: the whole cluster's, and one worker's. Each tells a person what was seen, what it waits for and what to do. Pure. */
import { formatRfc3339 } from '@evercert/shared/manifest';
import { evidenceOf } from './evidence.ts';
import { aheadMs } from './leaps.ts';
import { hourMs, nextByRate, runningIds, type WorkerCounts } from './limits.ts';
import { type ExpiredCertificate, type HoldReason, holdReasons, type ReplacementFacts, type ReplacementQuestion } from './types.ts';
import { openWindow } from './windows.ts';

export interface Hold {
  reason: HoldReason;
  message: string;
  againAtMs?: number;
}

type Check = (question: ReplacementQuestion, counts: WorkerCounts) => Hold | undefined;
type NodeCheck = (question: ReplacementQuestion, node: ReplacementFacts) => Hold | undefined;

/** Of the whole cluster, whatever is the matter with one worker; the limits are apart, for they let some begin. */
const clusterChecks: Check[] = [noProvisioner, provisionerUnknown, off, paused, coordinatorUnhealthy, tooManyUnhealthy];
const limitChecks: Check[] = [backingOff, oneAtATime, rateLimited];
const nodeChecks: NodeCheck[] = [coordinatorWasAway, cordoned, maintenanceWindow, repairing, revocationMatchesSuccessor, withinGrace];

/** In the order in which they are told. */
export function clusterHolds(question: ReplacementQuestion, counts: WorkerCounts): Hold[] {
  return inOrder(clusterChecks.flatMap((check) => check(question, counts) ?? []));
}

export function limitHolds(question: ReplacementQuestion, counts: WorkerCounts): Hold[] {
  return inOrder(limitChecks.flatMap((check) => check(question, counts) ?? []));
}

/** Of a worker of which at least one certificate has expired. */
export function nodeHolds(question: ReplacementQuestion, node: ReplacementFacts): Hold[] {
  return nodeChecks.flatMap((check) => check(question, node) ?? []);
}

export function inOrder(holds: readonly Hold[]): Hold[] {
  return holds.toSorted((a, b) => holdReasons.indexOf(a.reason) - holdReasons.indexOf(b.reason));
}

function noProvisioner({ cluster, policy }: ReplacementQuestion): Hold | undefined {
  if (policy.provisioner !== '') return undefined;
  return {
    reason: 'NoProvisioner',
    message: `the replacement policy of cluster ${cluster} names no provisioner, so nobody is replaced: name one in the Cluster document's spec.replacement.provisioner and apply it`,
  };
}

function provisionerUnknown({ policy, provisionerKnown }: ReplacementQuestion): Hold | undefined {
  if (provisionerKnown || policy.provisioner === '') return undefined;
  return {
    reason: 'ProvisionerUnknown',
    message: `the policy's provisioner "${policy.provisioner}" is not configured at this coordinator: add it under 'provisioners' in coordinator.yaml and restart the coordinator, or name another in the policy`,
  };
}

function off({ cluster, policy }: ReplacementQuestion): Hold | undefined {
  if (policy.mode === 'active' || policy.mode === 'dry-run') return undefined;
  return {
    reason: 'Off',
    message: `replacement is off in the policy of cluster ${cluster}: set spec.replacement.mode to active to have workers replaced`,
  };
}

function paused({ cluster, pause }: ReplacementQuestion): Hold | undefined {
  if (!pause) return undefined;
  const { by, reason, scope } = pause;
  const [whose, resume] =
    scope === 'all'
      ? ['of all clusters', "'evercert replacement resume --all'"]
      : [`of cluster ${cluster}`, `'evercert replacement resume ${cluster}'`];
  return {
    reason: 'Paused',
    message: `replacements ${whose} were paused by ${by}${reason ? `: ${reason}` : ''}; ${resume} lets them go on`,
  };
}

/** Well, and for long enough that whoever could renew has done so. */
function coordinatorUnhealthy({ policy, availability, nowMs }: ReplacementQuestion): Hold | undefined {
  const { healthySinceMs, problem } = availability;
  if (healthySinceMs === undefined || problem !== '') {
    return {
      reason: 'CoordinatorUnhealthy',
      message: `the coordinator itself is not well: ${problem || 'it does not know since when it is'}; nobody is replaced until it is, for the fault may be its own. Put it right; see its log`,
    };
  }
  const longEnoughMs = healthySinceMs + policy.graceSeconds * 1000;
  if (nowMs >= longEnoughMs) return undefined;
  return {
    reason: 'CoordinatorUnhealthy',
    message: `the coordinator has been well only since ${iso(healthySinceMs)}: workers have until ${iso(longEnoughMs)} to come back by themselves (grace ${policy.graceSeconds} s)`,
    againAtMs: longEnoughMs,
  };
}

function tooManyUnhealthy(question: ReplacementQuestion, { workers, unhealthy, maxUnhealthy }: WorkerCounts): Hold | undefined {
  const { cluster, policy } = question;
  if (unhealthy <= maxUnhealthy) return undefined;
  const none = maxUnhealthy === 0 ? `; with so few workers nobody is ever replaced, unless maxUnhealthy is a count such as "1"` : '';
  return {
    reason: 'TooManyUnhealthy',
    message: `${unhealthy} of ${workers} workers fail at once, at most ${maxUnhealthy} may (maxUnhealthy ${policy.maxUnhealthy}): that looks like one fault of them all, which new machines would not mend${none}. Look for what they share ('evercert get nodes --cluster ${cluster}') and bring them back with 'evercert repair ${cluster} --node NAME'`,
  };
}

function backingOff({ history, nowMs }: ReplacementQuestion): Hold | undefined {
  const waiting = history.running.filter(({ backingOffUntilMs }) => backingOffUntilMs !== undefined);
  const [first] = waiting.toSorted((a, b) => (a.backingOffUntilMs ?? 0) - (b.backingOffUntilMs ?? 0));
  if (first?.backingOffUntilMs === undefined) return undefined;
  return {
    reason: 'BackingOff',
    message: `the new machine for ${first.node} did not come up (replacement ${first.id}); no other worker is replaced until one does. It is tried again at ${iso(first.backingOffUntilMs)}; 'evercert describe replacement ${first.id}' tells why it failed`,
    ...(first.backingOffUntilMs > nowMs && { againAtMs: first.backingOffUntilMs }),
  };
}

function oneAtATime(question: ReplacementQuestion): Hold | undefined {
  const { policy, history } = question;
  const running = runningIds(question);
  if (running.size < policy.maxConcurrent) return undefined;
  const names = [...running].map((id) => {
    const node = history.running.find((one) => one.id === id)?.node;
    return node === undefined ? id : `${node} (${id})`;
  });
  return {
    reason: 'OneAtATime',
    message: `${running.size} replacement${running.size === 1 ? ' is' : 's are'} under way, at most ${policy.maxConcurrent} may be at once (maxConcurrent): it waits for ${names.join(', ')} to end`,
  };
}

function rateLimited({ policy, history, nowMs }: ReplacementQuestion): Hold | undefined {
  const againAtMs = nextByRate(history.startedAtMs, policy.maxPerHour, nowMs);
  if (againAtMs === undefined) return undefined;
  const begun = history.startedAtMs.filter((startMs) => nowMs - startMs < hourMs).length;
  const most = `${begun} replacement${begun === 1 ? '' : 's'} began within the last hour, at most ${policy.maxPerHour} may (maxPerHour)`;
  return Number.isFinite(againAtMs)
    ? { reason: 'RateLimited', message: `${most}: the next may begin at ${iso(againAtMs)}`, againAtMs }
    : { reason: 'RateLimited', message: `${most}: none may ever begin` };
}

/** Certificates whose renewal failed although the coordinator was there to renew them. */
export function provenOf({ availability, nowMs }: ReplacementQuestion, { expired }: ReplacementFacts): ReplacementFacts['expired'] {
  return expired.filter((one) => one.endMs <= nowMs && evidenceOf(one, availability, nowMs).enough);
}

function coordinatorWasAway(question: ReplacementQuestion, node: ReplacementFacts): Hold | undefined {
  const { cluster, availability, nowMs } = question;
  if (provenOf(question, node).length > 0) return undefined;
  const lacking = node.expired.flatMap((one) => {
    const evidence = evidenceOf(one, availability, nowMs);
    return evidence.enough ? [] : [{ name: one.name, ...evidence }];
  });
  const [first] = lacking.toSorted((a, b) => (a.againAtMs ?? Number.POSITIVE_INFINITY) - (b.againAtMs ?? Number.POSITIVE_INFINITY));
  const { name = '', message = '', againAtMs } = first ?? {};
  const wait = againAtMs === undefined ? '' : `; held until ${iso(againAtMs)}, if the coordinator stays well`;
  return {
    reason: 'CoordinatorWasAway',
    message: `${name}: ${message}${wait}. 'evercert repair ${cluster} --node ${node.name}' lets the worker come back before`,
    ...(againAtMs !== undefined && { againAtMs }),
  };
}

function cordoned({ cluster, nowMs }: ReplacementQuestion, { name, cordon }: ReplacementFacts): Hold | undefined {
  if (!cordon || (cordon.untilMs !== undefined && cordon.untilMs <= nowMs)) return undefined;
  const until = cordon.untilMs === undefined ? '' : ` until ${iso(cordon.untilMs)}`;
  return {
    reason: 'Cordoned',
    message: `it is exempt from replacement${until}, by ${cordon.by}${cordon.reason ? `: ${cordon.reason}` : ''}; 'evercert uncordon ${name} --cluster ${cluster}' ends that`,
    ...(cordon.untilMs !== undefined && { againAtMs: cordon.untilMs }),
  };
}

function maintenanceWindow({ policy, nowMs }: ReplacementQuestion, node: ReplacementFacts): Hold | undefined {
  const window = openWindow(policy.maintenanceWindows, node, nowMs);
  if (!window) return undefined;
  const { name, untilMs } = window;
  return untilMs === undefined
    ? {
        reason: 'MaintenanceWindow',
        message: `maintenance window ${name} is open, and with those that follow it does not end within a month: change the policy`,
      }
    : { reason: 'MaintenanceWindow', message: `maintenance window ${name} is open: it waits until ${iso(untilMs)}`, againAtMs: untilMs };
}

function repairing({ cluster }: ReplacementQuestion, { name, repairing: open }: ReplacementFacts): Hold | undefined {
  if (!open) return undefined;
  return {
    reason: 'Repairing',
    message: `a repair window is open for it: it waits until that ends ('evercert repair ${cluster} --node ${name}' shows how it goes)`,
  };
}

function revocationMatchesSuccessor({ cluster, sameName }: ReplacementQuestion, node: ReplacementFacts): Hold | undefined {
  const entries = sameName === false ? (node.refusedByAnyName ?? '') : node.refusedInFuture;
  if (entries === '') return undefined;
  return {
    reason: 'RevocationMatchesSuccessor',
    message: `${entries} would refuse a new node in its place as well, so that replacing it would mend nothing: set a notBefore in the entry and apply it again, or delete the revocation ('evercert delete revocation NAME --cluster ${cluster}')`,
  };
}

function withinGrace(question: ReplacementQuestion, node: ReplacementFacts): Hold | undefined {
  const { cluster, policy, nowMs } = question;
  const ends = provenOf(question, node).map((one) => one.endMs + leaptOf(question, one));
  if (ends.length === 0) return undefined;
  const dueMs = Math.min(...ends) + policy.graceSeconds * 1000;
  if (nowMs >= dueMs) return undefined;
  const leaptMs = Math.max(...node.expired.map((one) => leaptOf(question, one)));
  const leapt = leaptMs > 0 ? `, and ${Math.ceil(leaptMs / 1000)} s by which the coordinator's clock went forward since it was issued` : '';
  return {
    reason: 'WithinGrace',
    message: `it is replaced at ${iso(dueMs)} if it has not recovered by then (grace ${policy.graceSeconds} s${leapt}); 'evercert repair ${cluster} --node ${node.name}' brings it back, 'evercert cordon ${node.name} --cluster ${cluster}' exempts it`,
    againAtMs: dueMs,
  };
}

/** A clock that went forward may be wrong: by the time before, the certificate ends so much later. */
function leaptOf({ availability }: ReplacementQuestion, { dueMs, endMs, issuedAtMs }: ExpiredCertificate): number {
  // Renewal is due at two thirds of a life, where nothing else is known.
  return aheadMs(availability.leaps, issuedAtMs ?? endMs - 3 * (endMs - dueMs));
}

function iso(ms: number): string {
  return formatRfc3339(ms);
}
