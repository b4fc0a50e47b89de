import type { Clock } from '@evercert/shared/clock';
import type { NodeRegistry } from '../nodes/registry.ts';
import type { Refusals } from '../recovery/refusals.ts';
import { type NodeProgress, progressOf } from './progress.ts';
import type { NodeRepairPlan, RepairFacts, RepairOutcome, RepairStep } from './types.ts';
import type { RepairWindows } from './windows.ts';

export interface RepairLimits {
  /** A node of which nothing is heard for so long is silent. Longer than agents wait between two tries. */
  silentAfterMs: number;
  /** Longest time for one node of which something is heard. */
  nodeMs: number;
}

export interface NodeRepairOptions {
  cluster: string;
  plan: NodeRepairPlan;
  actor: string;
  windowMs: number;
  limits: RepairLimits;
  facts: () => RepairFacts;
  registry: NodeRegistry;
  windows: RepairWindows;
  refusals: Refusals;
  clock: Clock;
  /** A moment's wait; returns early when the signal aborts. */
  pause: () => Promise<void>;
  signal: AbortSignal;
  tell: (step: RepairStep, message: string, certificate?: string) => void;
}

/** The repair of one node: opens its window, asks for fresh certificates, and waits until they are in place and at work. */
export class NodeRepair {
  readonly #options: NodeRepairOptions;
  readonly #told = new Set<string>();
  #startMs = 0;
  #startMonotonicMs = 0;

  constructor(options: NodeRepairOptions) {
    this.#options = options;
  }

  /** Errors: those of the store, FailedPrecondition (the clock was moved back). */
  async run(): Promise<RepairOutcome> {
    const { plan, clock, tell, signal } = this.#options;
    this.#startMs = clock.nowMs();
    this.#startMonotonicMs = clock.monotonicMs();
    await this.#open();
    for (let heard = false; ; ) {
      const facts = this.#options.facts();
      const progress = progressOf({ plan, facts, startMs: this.#startMs, nowMs: clock.nowMs() });
      this.#tell(progress, facts);
      heard ||= facts.connected || (plan.expiredIdentity !== undefined && progress.recovered);
      if (progress.waiting.length === 0) return await this.#done(facts, progress);
      if (signal.aborted) return this.#outcome('Failed', progress, 'the repair was broken off');
      const refused = this.#refusedSince();
      const elapsedMs = clock.monotonicMs() - this.#startMonotonicMs;
      const { silentAfterMs, nodeMs } = this.#options.limits;
      if (refused !== undefined && !progress.recovered)
        return await this.#fail(progress, `the node asked to come back and was refused: ${refused}`);
      if (!heard && elapsedMs > silentAfterMs) {
        const message = this.#silence();
        tell('Silent', message);
        return this.#outcome('Silent', progress, message);
      }
      if (elapsedMs > nodeMs)
        return await this.#fail(progress, `after ${Math.round(elapsedMs / 1000)} s it still waits for ${listed(progress.waiting)}`);
      await this.#options.pause();
    }
  }

  /** The window first: the agent asks as soon as it sees the marks. */
  async #open(): Promise<void> {
    const { cluster, plan, actor, windowMs, windows, registry, tell } = this.#options;
    const window = await windows.open(cluster, plan.node, { durationMs: windowMs, by: actor, reason: 'repair' });
    const marks = Object.fromEntries(plan.certificates.map((name) => [name, this.#startMs]));
    await registry.update(cluster, plan.node, (record) => ({
      ...record,
      renewIfIssuedBeforeMs: { ...record.renewIfIssuedBeforeMs, ...marks },
    }));
    const what = [...(plan.expiredIdentity === undefined ? [] : ['its identity']), ...plan.certificates].join(', ') || 'the node';
    tell('WindowOpened', `open until ${new Date(window.expiresAtMs).toISOString()} for ${what}`);
  }

  #tell({ recovered, issued, serving }: NodeProgress, { identity, certificates }: RepairFacts): void {
    const { plan } = this.#options;
    if (plan.expiredIdentity !== undefined && recovered) this.#tellOnce('Recovered', `came back with identity ${identity.serial}`);
    for (const name of issued) {
      const serial = certificates.find((each) => each.name === name)?.issued?.serial ?? '';
      this.#tellOnce('CertificateIssued', `serial ${serial} is in place`, name);
    }
    for (const name of serving) this.#tellOnce('Serving', 'its component serves it', name);
  }

  #tellOnce(step: RepairStep, message: string, certificate = ''): void {
    const key = `${step} ${certificate}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#options.tell(step, message, certificate);
  }

  async #done(facts: RepairFacts, progress: NodeProgress): Promise<RepairOutcome> {
    const { plan, tell } = this.#options;
    const refused = plan.findings.filter(({ kind }) => kind === 'Refused').map(({ message }) => message);
    if (refused.length > 0)
      return await this.#fail(
        progress,
        `repaired but for what may not be issued: ${listed(refused)}; set a notBefore in the entry, or delete the object`,
      );
    await this.#close('the node is repaired');
    const healthy = facts.components.map(({ name }) => `, ${name} is healthy`).join('');
    const message = `${progress.issued.length} fresh certificates${plan.expiredIdentity === undefined ? '' : ', a new identity'}${healthy}`;
    tell('Repaired', message);
    return this.#outcome('Repaired', progress, message);
  }

  async #fail(progress: NodeProgress, message: string): Promise<RepairOutcome> {
    await this.#close('the repair failed');
    this.#options.tell('Failed', message);
    return this.#outcome('Failed', progress, message);
  }

  async #close(why: string): Promise<void> {
    const { cluster, plan, actor, windows } = this.#options;
    await windows.close(cluster, plan.node, actor, why);
  }

  /** A refusal that a window does not mend, since the repair of this node began. */
  #refusedSince(): string | undefined {
    const { refusals, cluster, plan } = this.#options;
    const last = refusals.last(cluster, plan.node);
    if (!last || last.atMs < this.#startMonotonicMs || last.error.retryable) return undefined;
    return last.error.message;
  }

  /** The window stays open: whoever comes within its time is let in. */
  #silence(): string {
    const { cluster, plan, windowMs, limits } = this.#options;
    const { node, role } = plan;
    return `nothing was heard of the node within ${Math.round(limits.silentAfterMs / 1000)} s; if its agent starts within ${Math.round(windowMs / 60_000)} min, it comes back by itself; otherwise make a token ('evercert token create --cluster ${cluster} --role ${role} --node-name ${node}') and run on the node: evercert-agent recover --token TOKEN`;
  }

  #outcome(result: RepairOutcome['result'], { issued }: NodeProgress, message: string): RepairOutcome {
    return { node: this.#options.plan.node, result, certificates: issued, message };
  }
}

function listed(items: readonly string[]): string {
  return items.slice(0, 4).join('; ') + (items.length > 4 ? `; and ${items.length - 4} more` : '');
}
