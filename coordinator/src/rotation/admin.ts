import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { KeyAlgorithm } from '@evercert/shared/x509';
import type { Authorities } from '../ca/authorities.ts';
import { watchedOnly } from '../ca/authorities.ts';
import { currentGeneration, shareRoot } from '../ca/generations.ts';
import { clusterNotFound } from '../clusters/clusters.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { AuthorityRecord, RotationRecord } from '../state/records.ts';
import { newRotation } from './new-rotation.ts';
import type { RotationOutlook } from './outlook.ts';
import { foreseen, warningsOf } from './preview.ts';
import { authorityText, hasEnded, type RotationRecords, underWay } from './records.ts';
import { event } from './steps.ts';
import { aborted, assertRunning, spreading } from './transitions.ts';
import type { RotationView } from './types.ts';

export const controlCa = 'control-ca';

/** What an admin asks for. */
export interface RotationOrder {
  /** Empty: the control CA alone. */
  cluster: string;
  authorities: readonly string[];
  reason: 'requested' | 'compromise' | 'scheduled';
  note: string;
  /** Absent: as it is. */
  keyAlgorithm?: KeyAlgorithm;
  intermediate: boolean;
  /** From the begin of each. */
  deadlineAfterMs?: number;
  dryRun: boolean;
}

export interface RotationAnswer {
  rotations: RotationView[];
  /** PKCS#10 in PEM, by CA. */
  requests: Record<string, string>;
  warnings: string[];
}

export type RotationAction = { type: 'pause' | 'resume' | 'abort' } | { type: 'deadline'; afterMs: number | undefined };

export interface RotationAdminOptions {
  records: RotationRecords;
  outlook: RotationOutlook;
  authorities: Pick<Authorities, 'acceptCertificate'>;
  /** Every CA that is here, the control CA included. */
  everyAuthority: () => AuthorityRecord[];
  model: Model;
  clock: Clock;
  /** `ro-` and ten characters of [a-z0-9]. */
  newId: () => string;
}

/** How long the answer waits for the request of an intermediate, which is made in the background. */
const requestMs = 20_000;
const pollMs = 100;
/** Ended ones that are shown, the newest. */
const maxEnded = 50;
const maxChainBytes = 256 * 1024;

/** What admins do with rotations, at any coordinator: the leader finds it in the records. */
export class Rotations {
  readonly #options: RotationAdminOptions;

  constructor(options: RotationAdminOptions) {
    this.#options = options;
  }

  /** Errors: NotFound (cluster or CA), FailedPrecondition (one is under way, or the CA's key is not here), InvalidArgument. */
  async rotate(order: RotationOrder, actor: string): Promise<RotationAnswer> {
    const { records, newId, clock } = this.#options;
    const places = this.#placesOf(order);
    const found = await Promise.all(places.map((place) => this.#rotatable(place)));
    const [first] = found;
    if (!first) throw new EvercertError('InvalidArgument', `certificate_authorities: expected which CAs are to be rotated`);
    const { keyAlgorithm, deadlineAfterMs, reason, note, intermediate } = order;
    const asked = { ...(keyAlgorithm && { keyAlgorithm }), ...(deadlineAfterMs !== undefined && { deadlineAfterMs }) };
    const following = places.slice(1).map(({ cluster, name }) => `${cluster}/${name}`);
    const begin = { by: actor, reason, note, intermediate, asked, following, id: newId(), nowMs: clock.nowMs() };
    const record = newRotation(first.record, begin);
    const plan = found.map(({ record: authority }) => newRotation(authority, { ...begin, id: '', following: [] }));
    const previews = plan.map((one) => foreseen(one, this.#options.outlook.of({ ...one, stage: 'Reissuing' })?.question));
    const warnings = plan.flatMap((one) => warningsOf(one, this.#options.outlook.of({ ...one, stage: 'Reissuing' })?.question));
    if (order.dryRun) return { rotations: previews, requests: {}, warnings };
    const asText = reason === 'compromise' ? ', for its key may be in strange hands' : '';
    const started = event(
      record,
      'RotationStarted',
      `rotation ${record.id} of ${authorityText(record)} begins${asText}${note && `: ${note}`}`,
      reason === 'compromise',
      actor,
    );
    await records.begin({ record, authorityRevision: first.modRevision }, [started]);
    const requests = intermediate ? await this.#requestOf(record) : {};
    return { rotations: [this.view(records.find(record.id)), ...previews.slice(1)], requests, warnings };
  }

  /** Newest first; those that have ended only where asked for, or by id. */
  list(cluster: string, id: string, all: boolean): RotationView[] {
    const { records, model } = this.#options;
    if (cluster !== '' && !model.cluster(cluster)) throw clusterNotFound(cluster);
    if (id !== '') return [this.view(records.find(id))];
    const found = records.list(cluster);
    const ended = all ? found.filter(hasEnded).slice(0, maxEnded) : [];
    return [...found.filter((record) => !hasEnded(record)), ...ended].map((record) => this.view(record));
  }

  /** Idempotent. Errors: NotFound; FailedPrecondition (it has ended, or there is no way back any more). */
  async set(id: string, action: RotationAction, reason: string, actor: string): Promise<RotationView> {
    const { records, clock } = this.#options;
    const nowMs = clock.nowMs();
    const because = reason === '' ? '' : `: ${reason}`;
    const after = await records.update(records.find(id), (record, authority) => {
      const of = `rotation ${id} of ${authorityText(record)}`;
      switch (action.type) {
        case 'pause':
          assertRunning(record);
          if (record.pausedAtMs !== undefined) return undefined;
          return {
            record: { ...record, pausedAtMs: nowMs, pausedBy: actor },
            events: [event(record, 'RotationPaused', `${of} is paused${because}`, false, actor)],
          };
        case 'resume': {
          assertRunning(record);
          if (record.pausedAtMs === undefined) return undefined;
          const { pausedAtMs: _at, pausedBy: _by, ...rest } = record;
          return { record: rest, events: [event(record, 'RotationResumed', `${of} goes on${because}`, false, actor)] };
        }
        case 'abort': {
          if (record.stage === 'Aborted') return undefined;
          const back = aborted(record, authority, nowMs);
          return (
            back && { ...back, events: [event(record, 'RotationAborting', `${of} is aborted at ${record.stage}${because}`, true, actor)] }
          );
        }
        case 'deadline': {
          assertRunning(record);
          const { deadlineMs: _before, ...rest } = record;
          const { afterMs } = action;
          const until =
            afterMs === undefined ? 'has no deadline any more' : `has its deadline at ${new Date(nowMs + afterMs).toISOString()}`;
          return {
            record: { ...rest, ...(afterMs !== undefined && { deadlineMs: nowMs + afterMs }) },
            events: [event(record, 'RotationDeadlineSet', `${of} ${until}${because}`, false, actor)],
          };
        }
      }
    });
    return this.view(after);
  }

  /** Errors: NotFound; FailedPrecondition (it does not await a certificate); InvalidArgument, InvalidCertificate. Idempotent by the certificate. */
  async install(id: string, chainPem: string, actor: string): Promise<RotationView> {
    const { records, authorities, everyAuthority, clock } = this.#options;
    if (chainPem.length > maxChainBytes) throw new EvercertError('InvalidArgument', `chain_pem: expected at most ${maxChainBytes} bytes`);
    const after = await records.update(records.find(id), async (record, authority) => {
      const others = everyAuthority().filter(({ cluster, name }) => cluster !== authority.cluster || name !== authority.name);
      if (record.request && record.stage !== 'AwaitingCertificate' && record.newSerial !== '') {
        const again = await authorities.acceptCertificate(authority, record.request, chainPem, others).catch(() => undefined);
        if (again?.serial === record.newSerial) return undefined;
      }
      if (record.stage !== 'AwaitingCertificate' || !record.request)
        throw new EvercertError('FailedPrecondition', `rotation ${id} is at ${record.stage}: it does not await a certificate`, {
          metadata: { rotation: id },
        });
      const next = await authorities.acceptCertificate(authority, record.request, chainPem, others);
      if (record.reason === 'compromise' && shareRoot(next, currentGeneration(authority))) throw sameRoot(authority.name);
      const transition = spreading(record, authority, next, clock.nowMs());
      const message = `rotation ${id} of ${authorityText(record)} has the certificate of the new CA (serial ${next.serial}); nodes are to trust its root`;
      return { ...transition, events: [event(transition.record, 'RotationSpreading', message, false, actor)] };
    });
    return this.view(after);
  }

  view(record: RotationRecord): RotationView {
    if (hasEnded(record)) return { record, nodes: [], waitingFor: '' };
    const { nodes = [], waitingFor = '' } = this.#options.outlook.of(record)?.decision ?? {};
    return { record, nodes, waitingFor };
  }

  #placesOf({ cluster, authorities }: RotationOrder): { cluster: string; name: string }[] {
    const { model } = this.#options;
    if (cluster !== '' && !model.cluster(cluster)) throw clusterNotFound(cluster);
    const names = cluster === '' && authorities.length === 0 ? [controlCa] : authorities;
    if (new Set(names).size !== names.length) throw new EvercertError('InvalidArgument', 'certificate_authorities: expected each CA once');
    const lost = cluster === '' ? names.find((name) => name !== controlCa) : undefined;
    if (lost !== undefined) throw new EvercertError('InvalidArgument', `cluster: expected the cluster whose ${lost} is to be rotated`);
    return names.map((name) => ({ cluster: name === controlCa ? layout.controlScope : cluster, name }));
  }

  async #rotatable({ cluster, name }: { cluster: string; name: string }): Promise<{ record: AuthorityRecord; modRevision: number }> {
    const { records } = this.#options;
    const found = await records.authority(cluster, name);
    if (!found)
      throw new EvercertError('NotFound', `cas "${name.slice(0, 63)}" not found: 'evercert get cas' lists them`, { metadata: { cluster } });
    if (found.record.keyId === '') throw watchedOnly(found.record);
    const running = records.runningOf(cluster, name);
    if (running) throw underWay(name, running.id);
    return found;
  }

  /** Empty where it takes longer: `list` tells it later. */
  async #requestOf({ id, authority }: RotationRecord): Promise<Record<string, string>> {
    const { records, clock } = this.#options;
    const endMs = clock.monotonicMs() + requestMs;
    while (clock.monotonicMs() < endMs) {
      const { request, stage } = records.find(id);
      if (request) return { [authority]: request.pem };
      if (stage !== 'Preparing') break;
      await clock.sleep(pollMs);
    }
    return {};
  }
}

function sameRoot(name: string): EvercertError {
  return new EvercertError(
    'InvalidCertificate',
    `the certificate is not taken: it stands under the root of the ${name} that is compromised, so that both would go on to be trusted; have it signed by another root ('evercert ca init-root')`,
  );
}
