import assert from 'node:assert/strict';
import { type CertificateStatus, type DeepPartial, type DesiredState, StatusReport } from '@evercert/proto';
import { generateKeyPair, parseCertificate } from '@evercert/shared/x509';
import type { TestNode } from './coordinator.ts';
import { AgentStream, issue } from './node-calls.ts';

export interface Held {
  serial: string;
  notBefore: Date;
  notAfter: Date;
}

/** A node whose agent is the test: it holds what it was issued, and reports what it is told to. */
export class TestAgent {
  readonly node: TestNode;
  readonly held = new Map<string, Held>();
  #stream: AgentStream | undefined;
  #desired: DesiredState | undefined;

  constructor(node: TestNode) {
    this.node = node;
  }

  async connect(): Promise<void> {
    this.#stream = new AgentStream(this.node.client);
    this.#stream.hello();
    this.#desired = await this.#stream.desired();
  }

  get desired(): DesiredState {
    assert.ok(this.#desired, 'the agent is connected');
    return this.#desired;
  }

  get stream(): AgentStream {
    assert.ok(this.#stream, 'the agent is connected');
    return this.#stream;
  }

  disconnect(): void {
    this.#stream?.close();
  }

  async obtain(name: string): Promise<Held> {
    const specHash = this.desired.certificates.find((one) => one.name === name)?.specHash ?? '';
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    const [leaf] = await issue(this.node.client, name, specHash, privateKey);
    const { serial, notBefore, notAfter } = parseCertificate(leaf as Buffer);
    return { serial, notBefore, notAfter };
  }

  async obtainAll(): Promise<void> {
    for (const { name } of this.desired.certificates) this.held.set(name, await this.obtain(name));
  }

  /** Reports everything in place, but for the changes by certificate. */
  report(changes: Record<string, DeepPartial<CertificateStatus>> = {}): void {
    const inPlace = { state: 'Ready', lastError: '' };
    const value = StatusReport.fromPartial({
      certificates: this.desired.certificates.map(({ name }) => ({
        name,
        state: 'Ready',
        issuedTotal: 1,
        ...this.held.get(name),
        ...changes[name],
      })),
      bundles: this.desired.bundles.map(({ name, issuer, version }) => ({ name, issuer, version, ...inPlace })),
      revocationLists: this.desired.revocationLists.map(({ name, issuer, number }) => ({ name, issuer, number, ...inPlace })),
      keyPairs: this.desired.keyPairs.map(({ name }) => ({ name, ...inPlace })),
      appliedRevision: this.desired.revision,
    });
    this.stream.send({ $case: 'report', value });
  }

  heartbeat(): void {
    this.stream.send({ $case: 'heartbeat', value: { time: new Date() } });
  }

  event(id: string, reason: string, certificate: string): void {
    const value = {
      id,
      reason,
      certificate,
      time: undefined,
      type: 'Warning',
      serial: '',
      message: 'no answer (try 1)',
      errorCode: 'Unavailable',
    };
    this.stream.send({ $case: 'event', value });
  }
}
