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
  /** Certificates that ran out while in use, as the agents say. */
  lapses: number;
}

interface Counter {
  /** Sum of what earlier counts had reached before they fell back. */
  base: number;
  last: number;
}

/** The latest status of all nodes. Counts only grow: one that falls back (an agent that lost its state) is carried on from where it was. */
export class StatusBook {
  readonly #counters = new Map<string, Counter>();
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
      return {
        ...before,
        phase,
        message,
        certificates: status.certificates.map((certificate) => this.#certificate(before.name, certificate)),
      };
    });
    return changes;
  }

  totals(): StatusTotals {
    const certificates = this.#nodes.flatMap((node) => node.certificates);
    const sum = (of: (certificate: CertificateView) => number): number =>
      certificates.reduce((total, certificate) => total + of(certificate), 0);
    return {
      nodes: this.#nodes.length,
      ready: this.#nodes.filter((node) => node.phase === 'Ready').length,
      certificates: certificates.length,
      renewals: sum((certificate) => certificate.renewals),
      failures: sum((certificate) => certificate.failures),
      lapses: sum((certificate) => certificate.lapses),
    };
  }

  #certificate(node: string, status: CertificateStatus): CertificateView {
    const count = (what: string, value: number): number => this.#count(`${node}/${status.name}/${what}`, value);
    const issued = count('issued', status.issuedTotal);
    return {
      name: status.name,
      state: status.state,
      startMs: startOf(status),
      endMs: status.notAfter?.getTime(),
      dueMs: status.nextRenewalAt?.getTime(),
      renewals: Math.max(0, issued - 1),
      failures: count('failures', status.failures),
      lapses: count('lapses', status.lapses),
      lastError: status.lastError,
    };
  }

  #count(key: string, value: number): number {
    const counter = this.#counters.get(key) ?? { base: 0, last: 0 };
    if (value < counter.last) counter.base += counter.last;
    counter.last = value;
    this.#counters.set(key, counter);
    return counter.base + value;
  }
}

/** notBefore is set back for clock skew; where the node says when it installed the certificate, its life is shown from there. */
function startOf({ lastRenewalAt, notBefore, notAfter }: CertificateStatus): number | undefined {
  if (!notBefore || !notAfter) return undefined;
  const installed = lastRenewalAt?.getTime() ?? 0;
  return installed > notBefore.getTime() && installed < notAfter.getTime() ? installed : notBefore.getTime();
}
