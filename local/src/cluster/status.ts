import type { CertificateStatus, Node } from '@evercert/proto';
import type { NodeRole } from './node.ts';

export interface CertificateView {
  name: string;
  state: string;
  /** When the certificate in use began to be used; undefined before the first. */
  startMs: number | undefined;
  endMs: number | undefined;
  /** When its renewal is due. */
  dueMs: number | undefined;
  renewals: number;
  failures: number;
  lapses: number;
  lastError: string;
}

export interface NodeView {
  name: string;
  role: NodeRole;
  /** As the coordinator says; `Starting` before it knows the node. */
  phase: string;
  message: string;
  certificates: CertificateView[];
}

const badPhases = new Set(['RenewalFailing', 'Expiring', 'Expired', 'Unreachable', 'Revoked']);

/** Something is wrong with the node; on its way to its first Ready it only lacks this and that. */
export function isBadPhase(phase: string): boolean {
  return badPhases.has(phase);
}

export interface StatusTotals {
  nodes: number;
  ready: number;
  certificates: number;
  /** Certificates installed in place of an earlier one. */
  renewals: number;
  failures: number;
  /** Certificates that ran out while in use, as the agents say; those of removed machines are among them. */
  lapses: number;
  lapsesOfRemoved: number;
}

/** A count that only grows: one that falls back (an agent that lost its state, a new machine) is carried on from where it was. */
class Counter {
  #base = 0;
  #last = 0;

  get total(): number {
    return this.#base + this.#last;
  }

  /** True: it fell back. */
  take(value: number): boolean {
    const fell = value < this.#last;
    if (fell) this.#base += this.#last;
    this.#last = value;
    return fell;
  }
}

/** Of one certificate of one node. */
class Counts {
  readonly issued = new Counter();
  readonly failures = new Counter();
  readonly lapses = new Counter();
  /** Machines that have had it: the first on each of them renews nothing. */
  machines = 1;

  get renewals(): number {
    return Math.max(0, this.issued.total - this.machines);
  }
}

/**
 * The latest status of all nodes. What lapsed on a machine that was then removed is told apart: its node was broken, and has been replaced as it should be.
 */
export class StatusBook {
  /** By node, then by certificate. */
  readonly #counts = new Map<string, Map<string, Counts>>();
  /** Lapses of each node that were those of removed machines. */
  readonly #lapsesOfRemoved = new Map<string, number>();
  /** Nodes whose machine was removed and whose new one is not Ready yet: the old one's last reports may still come in. */
  readonly #removed = new Set<string>();
  #nodes: NodeView[];

  constructor(expected: readonly { name: string; role: NodeRole }[]) {
    this.#nodes = expected.map(({ name, role }) => ({ name, role, phase: 'Starting', message: '', certificates: [] }));
  }

  get nodes(): readonly NodeView[] {
    return this.#nodes;
  }

  /** Takes in the coordinator's answer; returns the names of nodes whose phase changed, with the new phase. */
  update(nodes: readonly Node[]): { name: string; phase: string; message: string }[] {
    const changes: { name: string; phase: string; message: string }[] = [];
    this.#nodes = this.#nodes.map((before) => {
      const status = nodes.find((node) => node.name === before.name)?.status;
      if (!status) return before;
      const { phase, message } = status;
      if (phase !== before.phase) changes.push({ name: before.name, phase, message });
      const certificates = status.certificates.map((certificate) => this.#certificate(before.name, certificate));
      if (this.#removed.has(before.name)) this.#setApart(before.name);
      if (phase === 'Ready') this.#removed.delete(before.name);
      return { ...before, phase, message, certificates };
    });
    return changes;
  }

  /** The machine of this name was removed: what has lapsed there by the time at which a new one is Ready was its own. */
  machineRemoved(name: string): void {
    this.#removed.add(name);
    this.#setApart(name);
  }

  totals(): StatusTotals {
    const counts = [...this.#counts.values()].flatMap((ofNode) => [...ofNode.values()]);
    const sum = (of: (counts: Counts) => number): number => counts.reduce((total, each) => total + of(each), 0);
    return {
      nodes: this.#nodes.length,
      ready: this.#nodes.filter((node) => node.phase === 'Ready').length,
      certificates: this.#nodes.reduce((total, node) => total + node.certificates.length, 0),
      renewals: sum(({ renewals }) => renewals),
      failures: sum(({ failures }) => failures.total),
      lapses: sum(({ lapses }) => lapses.total),
      lapsesOfRemoved: [...this.#lapsesOfRemoved.values()].reduce((total, lapses) => total + lapses, 0),
    };
  }

  #setApart(name: string): void {
    const counts = [...(this.#counts.get(name)?.values() ?? [])];
    this.#lapsesOfRemoved.set(
      name,
      counts.reduce((total, { lapses }) => total + lapses.total, 0),
    );
  }

  #certificate(node: string, status: CertificateStatus): CertificateView {
    const counts = this.#countsOf(node, status.name);
    const fell = counts.issued.take(status.issuedTotal);
    if (fell && this.#removed.has(node)) counts.machines += 1;
    counts.failures.take(status.failures);
    counts.lapses.take(status.lapses);
    return {
      name: status.name,
      state: status.state,
      startMs: startOf(status),
      endMs: status.notAfter?.getTime(),
      dueMs: status.nextRenewalAt?.getTime(),
      renewals: counts.renewals,
      failures: counts.failures.total,
      lapses: counts.lapses.total,
      lastError: status.lastError,
    };
  }

  #countsOf(node: string, certificate: string): Counts {
    const ofNode = this.#counts.get(node) ?? new Map<string, Counts>();
    this.#counts.set(node, ofNode);
    const counts = ofNode.get(certificate) ?? new Counts();
    ofNode.set(certificate, counts);
    return counts;
  }
}

/** notBefore is set back for clock skew; where the node says when it installed the certificate, its life is shown from there. */
function startOf({ lastRenewalAt, notBefore, notAfter }: CertificateStatus): number | undefined {
  if (!notBefore || !notAfter) return undefined;
  const installed = lastRenewalAt?.getTime() ?? 0;
  return installed > notBefore.getTime() && installed < notAfter.getTime() ? installed : notBefore.getTime();
}
