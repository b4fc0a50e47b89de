import type { CertificateAuthorityRotation } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import type { AdminApi } from '../client.ts';
import { type Environment, line } from '../environment.ts';
import { printable } from '../output/table.ts';
import { isOver, progressText } from '../resources/rotation.ts';

const pollMs = 1000;

export interface FollowOrder {
  cluster: string;
  first: CertificateAuthorityRotation;
  /** CAs that are rotated one after the other. */
  names: readonly string[];
  /** Each change is told in a line. */
  lines: boolean;
}

/** Follows rotations of one request to their end. False: one was aborted, and those after it do not begin. A coordinator that is away for a while is asked again. */
export async function followRotations(
  api: AdminApi,
  environment: Environment,
  { cluster, first, names, lines }: FollowOrder,
): Promise<boolean> {
  const told = new Map<string, string>();
  const sinceMs = first.startedAt?.getTime() ?? 0;
  for (;;) {
    const rotations = await listAgain(api, cluster);
    const ours = rotations.filter((one) => names.includes(one.certificateAuthority) && (one.startedAt?.getTime() ?? 0) >= sinceMs);
    for (const rotation of [...ours].reverse()) {
      const text = textOf(rotation);
      if (lines && told.get(rotation.id) !== text)
        line(environment.out, `${environment.clock.nowMs() > 0 ? timeOf(environment) : ''}  ${text}`);
      told.set(rotation.id, text);
    }
    if (ours.some(({ stage }) => stage === 'Aborted')) return false;
    const ended = new Set(ours.filter(({ stage }) => stage === 'Completed').map(({ certificateAuthority }) => certificateAuthority));
    if (names.every((name) => ended.has(name))) return true;
    if (
      ours.length > 0 &&
      ours.every(isOver) &&
      ours.every(({ following }) => following.length === 0) &&
      (await isQuiet(api, cluster, names))
    )
      return names.every((name) => ended.has(name));
    await environment.clock.sleep(pollMs);
  }
}

/** One line that changes only when there is news. */
export function textOf(rotation: CertificateAuthorityRotation): string {
  const { certificateAuthority, stage, waitingFor, lastError } = rotation;
  const parts = [
    progressText(rotation),
    waitingFor === '' ? '' : `waits for ${waitingFor}`,
    lastError === '' ? '' : `last error: ${lastError}`,
  ];
  const about = parts.filter((part) => part !== '').join('; ');
  return `${certificateAuthority}  ${stage}${about === '' ? '' : `: ${printable(about)}`}`;
}

/** What of a line is news: a count of seconds is none. */
export function newsOf(text: string): string {
  return text.replace(/\d+ s more/g, '');
}

export function timeOf({ clock }: Environment): string {
  return new Date(clock.nowMs()).toISOString().slice(11, 19);
}

/** With those that have ended. */
export async function listAgain(api: AdminApi, cluster: string): Promise<CertificateAuthorityRotation[]> {
  for (;;) {
    try {
      const all = await api.call('listCertificateAuthorityRotations', { cluster: '', id: '', all: true });
      return all.rotations.filter((rotation) => rotation.cluster === cluster || rotation.cluster === '');
    } catch (error) {
      if (!(error instanceof EvercertError && error.retryable)) throw error;
    }
  }
}

/** One that was skipped, because it cannot be rotated, never begins. */
async function isQuiet(api: AdminApi, cluster: string, names: readonly string[]): Promise<boolean> {
  const rotations = await listAgain(api, cluster);
  return !rotations.some((one) => names.includes(one.certificateAuthority) && !isOver(one));
}
