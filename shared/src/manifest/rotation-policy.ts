/** The part of a cluster's policy that says when and how its CAs are rotated. */
import type { ClusterPolicy } from './types.ts';

export interface RotationPolicy {
  /** A rotation begins by itself when a CA's end is nearer than `beforeSeconds`. */
  automatic: boolean;
  beforeSeconds: number;
  /** Workers whose certificates are renewed at once. Control-plane nodes take turns, whatever it says. */
  maxConcurrent: number;
  /** How long components that read a trust bundle, or a certificate, again by themselves are given for it. */
  settleSeconds: number;
}

/** kube-apiserver reads its files again within a minute, client-go within five. */
export const defaultRotationPolicy: RotationPolicy = {
  automatic: false,
  beforeSeconds: 365 * 86_400,
  maxConcurrent: 50,
  settleSeconds: 360,
};

export const rotationLimits = {
  beforeSeconds: { min: 1, max: 5 * 365 * 86_400 },
  maxConcurrent: { min: 1, max: 1000 },
  settleSeconds: { min: 1, max: 86_400 },
} as const;

/** The policy of a cluster's rotations; most records say nothing of it. */
export function rotationPolicyOf(policy: Pick<ClusterPolicy, 'rotation'> | undefined): RotationPolicy {
  return policy?.rotation ?? defaultRotationPolicy;
}
