/** What tests of rotations ask of a local cluster. */
import assert from 'node:assert/strict';
import type { AdminApi } from '@evercert/local';
import {
  type CertificateAuthority,
  type CertificateAuthorityRotation,
  type RotateCertificateAuthorityRequest,
  RotationAction,
} from '@evercert/proto';
import { until } from './live.ts';

export class RotationDriver {
  readonly #cluster: { name: string; admin(): Promise<AdminApi> };
  readonly #timeoutMs: number;

  /** @param timeoutMs for a stage to be reached. */
  constructor(cluster: { name: string; admin(): Promise<AdminApi> }, timeoutMs: number) {
    this.#cluster = cluster;
    this.#timeoutMs = timeoutMs;
  }

  async authority(name: string): Promise<CertificateAuthority> {
    const admin = await this.#cluster.admin();
    const { certificateAuthorities } = await admin.call(admin.client.listCertificateAuthorities, { cluster: '' });
    const found = certificateAuthorities.find((each) => each.name === name);
    assert.ok(found);
    return found;
  }

  /** The control CA belongs to no cluster. */
  async rotate(name: string, order: Partial<RotateCertificateAuthorityRequest> = {}): Promise<CertificateAuthorityRotation> {
    const admin = await this.#cluster.admin();
    const nothing = { reason: '', note: '', keyAlgorithm: '', intermediate: false, deadline: undefined, dryRun: false };
    const cluster = name === 'control-ca' ? '' : this.#cluster.name;
    const request = { ...nothing, cluster, certificateAuthorities: [name], ...order };
    const [first] = (await admin.call(admin.client.rotateCertificateAuthority, request)).rotations;
    assert.ok(first);
    return first;
  }

  async get(id: string): Promise<CertificateAuthorityRotation> {
    const admin = await this.#cluster.admin();
    const { rotations } = await admin.call(admin.client.listCertificateAuthorityRotations, { cluster: '', id, all: true });
    assert.ok(rotations[0]);
    return rotations[0];
  }

  /** A coordinator that is being started again is asked again. Resolves at once with a stage that comes after it, too. */
  async reaches(id: string, ...stages: string[]): Promise<CertificateAuthorityRotation> {
    let last: CertificateAuthorityRotation | undefined;
    const there = async (): Promise<boolean> => {
      last = (await this.get(id).catch(() => undefined)) ?? last;
      return stages.includes(last?.stage ?? '');
    };
    await until(`rotation ${id} to be ${stages.join(' or ')}`, this.#timeoutMs, there, 100).catch((error: unknown) => {
      throw new Error(`${String(error)}; it is ${last?.stage}, and waits for ${last?.waitingFor}`);
    });
    return last!;
  }

  /** It may die before it has answered. */
  async set(id: string, action: RotationAction): Promise<void> {
    const admin = await this.#cluster.admin();
    const request = { id, action, deadline: undefined, reason: 'as a test' };
    await admin.call(admin.client.setCertificateAuthorityRotation, request).catch(() => {});
  }

  abort(id: string): Promise<void> {
    return this.set(id, RotationAction.ABORT);
  }
}
