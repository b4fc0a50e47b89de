import type { ReplacementRecord } from '@evercert/coordinator/replacement';
import type { NodeEntry } from '../coordinator/registry.ts';
import type { History } from '../history.ts';
import type { Action } from '../world/provisioner.ts';
import { inWindow, mostUnhealthy } from './rules.ts';
import type { Truth } from './truth.ts';

const secondMs = 1000;
const hourMs = 3600 * secondMs;
/** Clocks and looks are so exact. */
const slackMs = 5 * secondMs;
/** A replacement that nothing holds moves within this time: its waits after failures are six hours at most. */
const stalledMs = 24 * hourMs;

export const violationKinds = ['healthyReplaced', 'controlPlaneRemoved', 'limitExceeded', 'lost'] as const;
export type ViolationKind = (typeof violationKinds)[number];

export interface Violation {
  kind: ViolationKind;
  atMs: number;
  node: string;
  what: string;
}

/** Holds what is done against what is so. It sees neither what the decision says nor how it comes by it. */
export class Judge {
  readonly violations: Violation[] = [];
  replacements = 0;
  removed = 0;
  readonly #truth: Truth;
  readonly #history: History;
  readonly #lostAfterMs: number;
  /** Replacements under way, by id: begin and last move in true time. */
  readonly #running = new Map<string, { node: string; movedMs: number; step: string; backingOff: boolean }>();
  readonly #begunMs: number[] = [];
  /** Since when nothing has held the replacement of a worker that is lost. */
  readonly #unheldSince = new Map<string, number>();

  constructor(options: { truth: Truth; history: History; lostAfterMs: number }) {
    this.#truth = options.truth;
    this.#history = options.history;
    this.#lostAfterMs = options.lostAfterMs;
  }

  begins({ id, node }: ReplacementRecord): void {
    const truth = this.#truth;
    const entry = this.#entry(node);
    this.replacements += 1;
    if (entry.role === 'control-plane') this.#violated('controlPlaneRemoved', node, `replacement ${id} of a control-plane node begins`);
    for (const what of this.#forbidden(entry)) this.#violated('limitExceeded', node, `${id} begins although ${what}`);
    const { policy } = truth;
    if (inWindow(policy, entry.labels, truth.shownMs)) this.#violated('limitExceeded', node, `${id} begins in a maintenance window`);
    if (this.#running.size >= policy.maxConcurrent)
      this.#violated('limitExceeded', node, `${id} begins beside ${this.#running.size} others`);
    if ([...this.#running.values()].some(({ backingOff }) => backingOff))
      this.#violated('limitExceeded', node, `${id} begins while one backs off`);
    const lately = this.#begunMs.filter((ms) => truth.nowMs - ms < hourMs - slackMs).length;
    if (lately >= policy.maxPerHour)
      this.#violated('limitExceeded', node, `${id} is the ${lately + 1}th within an hour, of ${policy.maxPerHour}`);
    this.#begunMs.push(truth.nowMs);
    this.#running.set(id, { node, movedMs: truth.nowMs, step: 'Cordon', backingOff: false });
  }

  acts(id: string, action: Action): void {
    const node = this.#running.get(id)?.node ?? '';
    if (this.#truth.registry.pause) this.#violated('limitExceeded', node, `${id} goes on to ${action} while replacements are paused`);
  }

  /** The point of no return: from here on the old node is worthless. */
  withdraws({ id, node }: ReplacementRecord): void {
    const truth = this.#truth;
    const entry = this.#entry(node);
    this.removed += 1;
    if (entry.role === 'control-plane') this.#violated('controlPlaneRemoved', node, `${id} removes it`);
    for (const what of this.#forbidden(entry)) this.#violated('limitExceeded', node, `${id} removes it although ${what}`);
    const ended = truth.ended(node);
    if (ended.length === 0) this.#violated('healthyReplaced', node, `${id} removes it, and all its certificates hold`);
    else if (!ended.some((leaf) => truth.hadItsTries(leaf)))
      this.#violated(
        'healthyReplaced',
        node,
        `${id} removes it, and the coordinator was not there to renew ${ended.map(({ name }) => name).join(', ')}`,
      );
    const graceMs = truth.policy.graceSeconds * secondMs;
    if (truth.well.sinceMs === undefined || truth.nowMs - truth.well.sinceMs < graceMs - slackMs - 15 * secondMs)
      this.#violated('healthyReplaced', node, `${id} removes it, and the coordinator has not been well for the grace time`);
    const endMs = Math.min(...ended.map(({ notAfterMs }) => notAfterMs));
    if (truth.clockIsGood && truth.nowMs - endMs < graceMs - slackMs)
      this.#violated('limitExceeded', node, `${id} removes it within its grace time`);
  }

  twoMachines(node: string): void {
    this.#violated('limitExceeded', node, 'a second machine of its name was made');
  }

  saved(record: ReplacementRecord): void {
    const { id, state, step, steps } = record;
    if (state === 'Succeeded' || state === 'Cancelled') {
      this.#running.delete(id);
      return;
    }
    const running = this.#running.get(id);
    const now = `${state} ${step} ${record.attempt} ${steps.filter(({ finishedAtMs }) => finishedAtMs !== undefined).length}`;
    if (running && running.step !== now)
      this.#running.set(id, { ...running, movedMs: this.#truth.nowMs, step: now, backingOff: state === 'BackingOff' });
  }

  /** Now and then: is anybody lost? `providerBroken`: the maker of machines fails, and nothing can move. */
  tick(providerBroken: boolean): void {
    const { nowMs } = this.#truth;
    this.#truth.look();
    for (const entry of this.#truth.workers()) {
      const lost = !entry.replacement && this.#isLost(entry);
      if (!lost) this.#unheldSince.delete(entry.name);
      else if (!this.#unheldSince.has(entry.name)) this.#unheldSince.set(entry.name, nowMs);
      else if (nowMs - (this.#unheldSince.get(entry.name) ?? nowMs) > this.#lostAfterMs) {
        this.#violated('lost', entry.name, 'its certificates have ended, nothing holds its replacement, and it is not replaced');
        this.#unheldSince.set(entry.name, Number.POSITIVE_INFINITY);
      }
    }
    for (const [id, running] of this.#running) {
      if (providerBroken || this.#isHeld(this.#entry(running.node))) running.movedMs = Math.max(running.movedMs, nowMs);
      if (nowMs - running.movedMs <= stalledMs) continue;
      this.#violated('lost', running.node, `replacement ${id} has not moved for a day (${running.step})`);
      running.movedMs = Number.POSITIVE_INFINITY;
    }
  }

  /** It cannot hold its own any more, and nothing speaks against replacing it now. */
  #isLost(entry: NodeEntry): boolean {
    const truth = this.#truth;
    // It costs most to look closer, and nearly all are well.
    if (truth.ended(entry.name).length === 0) return false;
    const ended = truth.surelyEnded(entry).filter((leaf) => leaf.notAfterMs + (truth.policy.graceSeconds + 60) * secondMs < truth.nowMs);
    if (!ended.some((leaf) => truth.surelyHadItsTries(leaf))) return false;
    const { maxConcurrent, maxPerHour } = truth.policy;
    if (this.#running.size >= maxConcurrent || [...this.#running.values()].some(({ backingOff }) => backingOff)) return false;
    if (this.#begunMs.filter((ms) => truth.nowMs - ms < hourMs + slackMs).length >= maxPerHour) return false;
    return (
      !this.#isHeld(entry) && !inWindow(truth.policy, entry.labels, truth.shownMs) && truth.registry.refusedInFuture(entry.name) === ''
    );
  }

  /** Something of the coordinator, the cluster or an admin may hold it. */
  #isHeld(entry: NodeEntry): boolean {
    const truth = this.#truth;
    const { sure, policy, registry } = truth;
    const waitMs = (policy.graceSeconds + 600) * secondMs;
    if (sure.sinceMs === undefined || truth.nowMs - sure.sinceMs < waitMs) return true;
    if (policy.mode !== 'active' || policy.provisioner === '' || registry.pause) return true;
    if (this.#isCordoned(entry) || registry.isRepairing(entry.name, truth.shownMs)) return true;
    const workers = truth.workers();
    return workers.filter((one) => !truth.isSurelyWell(one)).length > mostUnhealthy(policy.maxUnhealthy, workers.length);
  }

  #forbidden(entry: NodeEntry): string[] {
    const truth = this.#truth;
    const { policy, registry } = truth;
    const workers = truth.workers();
    const unhealthy = workers.filter((one) => one.name !== entry.name && truth.isSurelyUnhealthy(one)).length + 1;
    const most = mostUnhealthy(policy.maxUnhealthy, workers.length);
    return [
      ...(policy.mode === 'active' ? [] : [`the mode is ${policy.mode}`]),
      ...(policy.provisioner === '' ? ['no provisioner is named'] : []),
      ...(registry.pause ? ['replacements are paused'] : []),
      ...(this.#isCordoned(entry) ? ['it is cordoned'] : []),
      ...(registry.isRepairing(entry.name, truth.shownMs) ? ['a repair window is open'] : []),
      ...(registry.refusedInFuture(entry.name) === '' ? [] : ['a new node would be refused as well']),
      ...(unhealthy > most ? [`${unhealthy} of ${workers.length} workers fail, of ${most} that may`] : []),
    ];
  }

  #isCordoned({ cordon }: NodeEntry): boolean {
    return cordon !== undefined && (cordon.untilMs === undefined || cordon.untilMs > this.#truth.shownMs);
  }

  #entry(node: string): NodeEntry {
    const entry = this.#truth.registry.nodes.get(node);
    if (!entry) throw new Error(`no node ${node}: records of nodes stay`);
    return entry;
  }

  #violated(kind: ViolationKind, node: string, what: string): void {
    const { nowMs } = this.#truth;
    this.violations.push({ kind, atMs: nowMs, node, what });
    this.#history.add(nowMs, `VIOLATION ${kind}: ${node}: ${what}`);
  }
}
