import type { NodeHealthState, ReportedCertificate } from '@evercert/coordinator';
import type { RoleName } from '@evercert/shared/manifest';
import { identityName } from '../world/machine.ts';

/** A certificate as it was issued. */
export interface IssuedLeaf {
  serial: string;
  issuedAtMs: number;
  notAfterMs: number;
}

/** What the coordinator holds of a node: its record, the newest certificates, and what was last heard of it. */
export interface NodeEntry {
  readonly name: string;
  readonly role: RoleName;
  readonly labels: Record<string, string>;
  /** By name, the identity included; no identity: it has not joined. */
  readonly currents: Map<string, IssuedLeaf>;
  cordon?: { by: string; reason: string; untilMs?: number };
  replacement?: { id: string };
  health?: NodeHealthState;
  /** By the process's monotonic clock; undefined: never heard. */
  seenMonotonicMs?: number;
  seenWallMs?: number;
  /** A report came since the process began. */
  fresh: boolean;
  connected: boolean;
  report?: ReportedCertificate[];
}

/** A RenewRevocation, as far as it matters here. */
export interface SimulatedRevocation {
  name: string;
  node: string;
  /** One certificate by its serial number, all (but the identity) that were issued before a time, or present and future ones. */
  match: { serial: string } | { beforeMs: number } | 'all';
}

/** The durable records of one cluster. */
export class Registry {
  readonly nodes = new Map<string, NodeEntry>();
  readonly revocations = new Set<SimulatedRevocation>();
  /** Repair windows by node, with their ends by the coordinator's clock. */
  readonly windows = new Map<string, number>();
  pause: { by: string; reason: string; scope: 'cluster' | 'all' } | undefined;
  #serial = 0;

  nextSerial(): string {
    this.#serial += 1;
    return `s${this.#serial}`;
  }

  add(name: string, role: RoleName, labels: Record<string, string>): NodeEntry {
    const entry: NodeEntry = { name, role, labels, currents: new Map(), fresh: false, connected: false };
    this.nodes.set(name, entry);
    return entry;
  }

  /** Which revocation refuses to renew the node's certificate. */
  refusal(entry: NodeEntry, name: string): SimulatedRevocation | undefined {
    const current = entry.currents.get(name);
    for (const revocation of this.revocations) {
      if (revocation.node !== entry.name) continue;
      const { match } = revocation;
      // Identities are matched by serial number alone.
      if (match === 'all' ? name !== identityName : current && isMatched(match, name, current)) return revocation;
    }
    return undefined;
  }

  /** What would refuse a new node of the name too; empty: nothing. */
  refusedInFuture(node: string): string {
    return [...this.revocations]
      .filter((one) => one.node === node && one.match === 'all')
      .map(({ name }) => `entry 1 of ${name}`)
      .join(', ');
  }

  isRepairing(node: string, wallMs: number): boolean {
    return (this.windows.get(node) ?? 0) > wallMs;
  }

  /** The node's identities open no door any more, and nothing of it is current. */
  withdraw(entry: NodeEntry): void {
    entry.currents.clear();
    delete entry.report;
    delete entry.seenMonotonicMs;
    delete entry.seenWallMs;
    entry.fresh = false;
    entry.connected = false;
  }

  hasJoined(entry: NodeEntry): boolean {
    return entry.currents.has(identityName);
  }
}

function isMatched(match: { serial: string } | { beforeMs: number }, name: string, { serial, issuedAtMs }: IssuedLeaf): boolean {
  return 'serial' in match ? match.serial === serial : name !== identityName && issuedAtMs < match.beforeMs;
}
