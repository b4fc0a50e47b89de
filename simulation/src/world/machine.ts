import type { RoleName } from '@evercert/shared/manifest';

/** A certificate as it lies on a machine. Its times are those that stand in it: by the coordinator's clock at its issue. */
export interface Leaf {
  name: string;
  serial: string;
  issuedAtMs: number;
  notBeforeMs: number;
  notAfterMs: number;
  /** By the machine's own clock. */
  dueMs: number;
}

export const identityName = 'identity';

/** What each role holds besides its identity. */
export const leafNames: Record<RoleName, readonly string[]> = {
  'control-plane': ['etcd-server', 'kube-apiserver', 'kubelet-client', 'kubelet-server'],
  worker: ['kube-proxy', 'kubelet-client', 'kubelet-server'],
};

/** A machine as it truly is. What the coordinator believes of it stands elsewhere. */
export class Machine {
  readonly id: number;
  readonly node: string;
  readonly role: RoleName;
  readonly rack: number;
  /** It runs; a machine that is off never comes back by itself. */
  alive = true;
  /** Faults that hold its agent. */
  stuck = 0;
  /** Faults that cut it off. */
  cuts = 0;
  /** Its wall clock is so far ahead of true time. */
  offsetMs = 0;
  /** Certificates whose renewal fails on the machine itself, by the number of faults. */
  readonly failing = new Map<string, number>();
  /** The identity included. */
  readonly leaves = new Map<string, Leaf>();
  /** What the agent last said of failed attempts. */
  readonly failures = new Map<string, string>();
  /** A stream to the coordinator is open. */
  connected = false;

  constructor(facts: { id: number; node: string; role: RoleName; rack: number }) {
    this.id = facts.id;
    this.node = facts.node;
    this.role = facts.role;
    this.rack = facts.rack;
  }

  get identity(): Leaf | undefined {
    return this.leaves.get(identityName);
  }

  /** Its agent runs and can send packets to the coordinator's machine. */
  get canSend(): boolean {
    return this.alive && this.stuck === 0 && this.cuts === 0;
  }

  /** Certificates that have ended by true time. */
  endedAt(trueMs: number): Leaf[] {
    const ended: Leaf[] = [];
    for (const leaf of this.leaves.values()) if (trueMs >= leaf.notAfterMs) ended.push(leaf);
    return ended;
  }
}

/** Adds a fault to a counter, or takes it away. */
export function count(counters: Map<string, number>, name: string, by: 1 | -1): void {
  const next = (counters.get(name) ?? 0) + by;
  if (next <= 0) counters.delete(name);
  else counters.set(name, next);
}
