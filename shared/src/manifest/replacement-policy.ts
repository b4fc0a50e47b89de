/** The part of a cluster's policy that says when and how workers are replaced. */
import type { Selector } from './types.ts';

/** `active` replaces; `dry-run` decides and tells, and does nothing; `off` does not even decide. */
export const replacementModes = ['active', 'dry-run', 'off'] as const;
export type ReplacementMode = (typeof replacementModes)[number];

/** When and how workers are replaced (invariant 13). */
export interface ReplacementPolicy {
  /** Name of a provisioner in the coordinator's configuration; empty: nobody is replaced. */
  provisioner: string;
  mode: ReplacementMode;
  /** After a worker's certificates have expired, before it is due. */
  graceSeconds: number;
  /** More workers than this failing at once hold every replacement back: a count, or a percentage ("40%") of the cluster's workers, rounded down. */
  maxUnhealthy: string;
  maxConcurrent: number;
  /** Replacements begun within any hour. */
  maxPerHour: number;
  /** A node that cannot be drained in this time is removed all the same. */
  drainTimeoutSeconds: number;
  /** From a new machine's creation until its node is Ready. */
  joinTimeoutSeconds: number;
  /** Wait after a failed attempt, doubled each time up to the most. */
  backoffSeconds: number;
  maxBackoffSeconds: number;
  maintenanceWindows: MaintenanceWindow[];
}

export const weekdays = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const;
export type Weekday = (typeof weekdays)[number];

/** A time in which no replacement of the selected nodes begins; all times are UTC. */
export interface MaintenanceWindow {
  name: string;
  time:
    | { type: 'once'; fromMs: number; untilMs: number }
    /** No days: every day. `start` is minutes after midnight. */
    | { type: 'recurring'; days: Weekday[]; startMinutes: number; durationSeconds: number };
  selector: Pick<Selector, 'nodes' | 'labels'>;
}

export const defaultReplacementPolicy: ReplacementPolicy = {
  provisioner: '',
  mode: 'active',
  graceSeconds: 600,
  maxUnhealthy: '40%',
  maxConcurrent: 1,
  maxPerHour: 6,
  drainTimeoutSeconds: 300,
  joinTimeoutSeconds: 900,
  backoffSeconds: 600,
  maxBackoffSeconds: 6 * 3600,
  maintenanceWindows: [],
};
