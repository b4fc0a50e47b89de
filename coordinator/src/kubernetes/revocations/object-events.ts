import { createHash } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { formatRfc3339 } from '@evercert/shared/manifest';
import { visibleLine } from '@evercert/shared/text';
import { type KubernetesApi, unlessMissing } from '../core/index.ts';
import type { ObjectSource, RevocationObject } from './objects.ts';

export interface ObjectEvent {
  type: 'Normal' | 'Warning';
  reason: string;
  message: string;
  /** Events of the same object, reason and `id` are one event that counts. */
  id: string;
  /** How often it happened since it was last told. */
  times: number;
}

interface EventObject {
  count?: number;
}

/** Of Kubernetes; longer messages are refused. */
const maxMessage = 1000;

/** Tells events of objects, as `kubectl describe` shows them (core/v1). */
export class ObjectEvents {
  readonly #api: KubernetesApi;
  readonly #clock: Clock;

  constructor({ api, clock }: { api: KubernetesApi; clock: Clock }) {
    this.#api = api;
    this.#clock = clock;
  }

  /** Errors: those of KubernetesApi. Told again after a failure it may count twice. */
  async tell({ apiVersion, namespace }: ObjectSource, { metadata }: RevocationObject, event: ObjectEvent): Promise<void> {
    const digest = createHash('sha256').update([metadata.uid, event.reason, event.id].join('\0')).digest('hex').slice(0, 16);
    const name = `${metadata.name.slice(0, 200)}.${digest}`;
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/events`;
    const now = formatRfc3339(Math.floor(this.#clock.nowMs() / 1000) * 1000);
    const message = visibleLine(event.message).slice(0, maxMessage);
    const known = await unlessMissing(this.#api.send<EventObject>({ method: 'GET', path: `${path}/${name}` }));
    if (known) {
      const body = { message, lastTimestamp: now, count: (known.count ?? 1) + event.times };
      await unlessMissing(this.#api.send({ method: 'PATCH', path: `${path}/${name}`, body }));
      return;
    }
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name, namespace },
      involvedObject: { apiVersion, kind: 'RenewRevocation', namespace, name: metadata.name, uid: metadata.uid },
      type: event.type,
      reason: event.reason,
      message,
      count: event.times,
      firstTimestamp: now,
      lastTimestamp: now,
      source: { component: 'evercert' },
    };
    await this.#api.send({ method: 'POST', path, body });
  }
}
