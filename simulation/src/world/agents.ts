import { renewalDueMs, retryLimitMs } from '@evercert/shared/schedule';
import type { Random } from '../random.ts';
import type { Scheduled, VirtualTime } from '../time.ts';
import { identityName, type Leaf, type Machine } from './machine.ts';

const hourMs = 3600_000;
/** Renewals are due after this part of the life. */
export const renewAt = 2 / 3;
/** An agent comes back to a coordinator that can be reached again within this time. */
const reconnectMs = 60_000;
/** What waits for a fault to end is tried again all the same. */
const fallbackMs = hourMs;
/** Changes are reported together. */
const reportAfterMs = 1000;

export type Issued = { leaf: Omit<Leaf, 'dueMs'> } | { refused: string; revoked: boolean };

/** The coordinator as agents see it. */
export interface Endpoint {
  /** Something answers there. */
  readonly answers: boolean;
  readonly offsetMs: number;
  /** By its clock. */
  readonly nowMs: number;
  /** The machine's identity opens the door. */
  accepts(machine: Machine): boolean;
  issue(machine: Machine, name: string): Issued;
  /** A new identity for an expired one. */
  recover(machine: Machine): Issued;
  report(machine: Machine): void;
  disconnected(machine: Machine): void;
}

/** With clocks further apart than this, one side takes the other's certificate for expired or not yet valid. */
export const clocksApartMs = 24 * hourMs;

/** What agents do: connect, report, renew when it is due, and try again. */
export class Agents {
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #endpoint: Endpoint;
  readonly #coming = new Set<Machine>();
  readonly #reporting = new Set<Machine>();
  readonly #attempts = new Map<Machine, Map<string, Scheduled>>();

  constructor(time: VirtualTime, random: Random, endpoint: Endpoint) {
    this.#time = time;
    this.#random = random;
    this.#endpoint = endpoint;
  }

  /** The first certificates are in place. */
  begin(machine: Machine): void {
    for (const leaf of machine.leaves.values()) this.#awaitDue(machine, leaf);
    machine.connected = true;
    this.#endpoint.report(machine);
  }

  /** Something has changed that may open or close its connection, or mend a renewal. */
  changed(machine: Machine): void {
    if (machine.connected && !this.#isAccepted(machine)) {
      machine.connected = false;
      this.#endpoint.disconnected(machine);
    }
    if (machine.connected) this.#tryWaiting(machine);
    else if (this.#canReach(machine)) this.#comeSoon(machine, this.#random.between(1000, reconnectMs));
  }

  /** It is gone for good. */
  ended(machine: Machine): void {
    machine.connected = false;
    for (const attempt of this.#attempts.get(machine)?.values() ?? []) attempt.cancelled = true;
    this.#attempts.delete(machine);
  }

  #canReach(machine: Machine): boolean {
    return machine.canSend && this.#endpoint.answers && Math.abs(machine.offsetMs - this.#endpoint.offsetMs) < clocksApartMs;
  }

  #isAccepted(machine: Machine): boolean {
    return this.#canReach(machine) && this.#endpoint.accepts(machine);
  }

  #comeSoon(machine: Machine, afterMs: number): void {
    if (this.#coming.has(machine)) return;
    this.#coming.add(machine);
    this.#time.after(afterMs, () => {
      this.#coming.delete(machine);
      this.#come(machine);
    });
  }

  #come(machine: Machine): void {
    if (machine.connected || !this.#canReach(machine) || !machine.identity) return;
    if (!this.#endpoint.accepts(machine)) {
      const result = this.#endpoint.recover(machine);
      if ('leaf' in result) this.#install(machine, result.leaf);
    }
    if (!this.#endpoint.accepts(machine)) {
      this.#comeSoon(machine, this.#random.between(fallbackMs / 2, fallbackMs));
      return;
    }
    machine.connected = true;
    this.#endpoint.report(machine);
    this.#tryWaiting(machine);
  }

  #tryWaiting(machine: Machine): void {
    const nowMs = this.#time.nowMs + machine.offsetMs;
    for (const leaf of machine.leaves.values()) {
      if (leaf.dueMs > nowMs) continue;
      const limitMs = retryLimitMs(leaf.notAfterMs - nowMs);
      this.#attemptAfter(machine, leaf.name, this.#random.between(0, limitMs));
    }
  }

  #awaitDue(machine: Machine, leaf: Leaf): void {
    this.#attemptAfter(machine, leaf.name, Math.max(1000, leaf.dueMs - machine.offsetMs - this.#time.nowMs));
    // The coordinator looks at the times of an identity at every call.
    if (leaf.name !== identityName) return;
    for (const ms of [leaf.notBeforeMs, leaf.notAfterMs]) {
      if (ms > this.#endpoint.nowMs) this.#time.at(ms - this.#endpoint.offsetMs, () => this.changed(machine));
    }
  }

  #attemptAfter(machine: Machine, name: string, afterMs: number): void {
    const attempts = this.#attempts.get(machine) ?? new Map<string, Scheduled>();
    this.#attempts.set(machine, attempts);
    const atMs = this.#time.nowMs + afterMs;
    const earlier = attempts.get(name);
    if (earlier && !earlier.cancelled && earlier.atMs <= atMs && earlier.atMs > this.#time.nowMs) return;
    if (earlier) earlier.cancelled = true;
    attempts.set(
      name,
      this.#time.at(atMs, () => this.#attempt(machine, name)),
    );
  }

  #attempt(machine: Machine, name: string): void {
    const leaf = machine.leaves.get(name);
    if (!machine.alive || !leaf) return;
    const nowMs = this.#time.nowMs + machine.offsetMs;
    // Its clock was set back meanwhile.
    if (leaf.dueMs > nowMs + 1000) {
      this.#awaitDue(machine, leaf);
      return;
    }
    if (machine.connected && machine.stuck === 0) this.#renew(machine, name);
    // One who is not connected tries again when it is.
    if (machine.connected && machine.leaves.get(name) === leaf)
      this.#attemptAfter(machine, name, this.#random.between(fallbackMs / 2, fallbackMs));
  }

  #renew(machine: Machine, name: string): void {
    const failed = machine.failing.has(name) ? 'the disk is read-only' : this.#request(machine, name);
    if (failed === undefined) machine.failures.delete(name);
    else if (machine.failures.get(name) === failed) return;
    else machine.failures.set(name, failed);
    this.#reportSoon(machine);
  }

  /** Why it failed; undefined: the new one is in place. */
  #request(machine: Machine, name: string): string | undefined {
    const result = this.#endpoint.issue(machine, name);
    if ('refused' in result) return `${result.revoked ? 'Revoked' : 'RenewalFailing'} ${result.refused}`;
    return this.#install(machine, result.leaf) ? undefined : 'RenewalFailing the new certificate has ended by this clock';
  }

  #install(machine: Machine, issued: Omit<Leaf, 'dueMs'>): boolean {
    const nowMs = this.#time.nowMs + machine.offsetMs;
    // One that begins later is taken: the clock of one side is wrong, and whose cannot be known.
    if (nowMs >= issued.notAfterMs) return false;
    const dueMs = renewalDueMs({ ...issued, renewAt, draw: this.#random.draw() });
    // One whose time is nearly over by this clock is renewed again soon, not at once.
    const leaf = { ...issued, dueMs: Math.max(dueMs, Math.min(nowMs + 10 * 60_000, issued.notAfterMs)) };
    machine.leaves.set(leaf.name, leaf);
    machine.failures.delete(leaf.name);
    this.#awaitDue(machine, leaf);
    return true;
  }

  #reportSoon(machine: Machine): void {
    if (this.#reporting.has(machine)) return;
    this.#reporting.add(machine);
    this.#time.after(reportAfterMs, () => {
      this.#reporting.delete(machine);
      if (machine.connected) this.#endpoint.report(machine);
    });
  }
}
