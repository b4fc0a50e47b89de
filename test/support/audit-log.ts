import {
  type AuditCheckpoint,
  type AuditEvent,
  type AuditReport,
  afterCheckpoint,
  checkpointBytes,
  encodeSignature,
  entryText,
  formatLine,
  genesis,
  verifyAuditLog,
} from '@evercert/shared/audit';
import {
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  type LeafProfile,
  newSerial,
  type PreparedIssuer,
  prepareIssuer,
  signerFor,
  spkiDer,
} from '@evercert/shared/x509';

export const auditStartMs = Date.UTC(2026, 4, 1, 12);
const day = 86_400_000;

export const auditProfile: LeafProfile = {
  commonName: 'evercert-audit',
  organizations: [],
  dnsNames: [],
  ipAddresses: [],
  uris: [],
  usages: ['digital signature'],
  auditSigning: true,
};

/** A CA and a key that it named for audit logs. */
export interface AuditKey {
  ca: PreparedIssuer;
  certificate: Buffer;
  sign: (bytes: Buffer) => Promise<Buffer>;
}

export async function newAuditKey(profile: LeafProfile = auditProfile, ca?: PreparedIssuer): Promise<AuditKey> {
  const issuer = ca ?? (await newCa());
  const { privateKey } = await generateKeyPair('ecdsa-p256');
  const certificate = await issueLeaf(issuer, {
    spki: spkiDer(privateKey),
    keyAlgorithm: 'ecdsa-p256',
    profile,
    serial: newSerial(),
    notBefore: new Date(auditStartMs - day),
    notAfter: new Date(auditStartMs + 30 * day),
  });
  const signer = signerFor(privateKey);
  return { ca: issuer, certificate, sign: (bytes) => signer.sign(bytes) };
}

async function newCa(): Promise<PreparedIssuer> {
  const signer = signerFor((await generateKeyPair('ecdsa-p256')).privateKey);
  const times = { notBefore: new Date(auditStartMs - 2 * day), notAfter: new Date(auditStartMs + 40 * day) };
  return prepareIssuer(await createRootCertificate({ commonName: 'evercert-control-ca', signer, serial: newSerial(), ...times }), signer);
}

/** Writes a log as the coordinator does. */
export class LogWriter {
  readonly lines: string[] = [];
  readonly log: string;
  #hash: string;
  #sequence = 0;
  /** By entry: the chain's value before it, and the place of its line. */
  readonly #starts: { previous: string; line: number }[] = [];

  constructor(log = '0123456789abcdef0123456789abcdef') {
    this.log = log;
    this.#hash = genesis(log);
  }

  /** Of another that goes on from where this one stands. */
  branch(): LogWriter {
    const other = new LogWriter(this.log);
    other.lines.push(...this.lines);
    other.#starts.push(...this.#starts);
    other.#hash = this.#hash;
    other.#sequence = this.#sequence;
    return other;
  }

  header(): this {
    this.lines.push(formatLine({ type: 'header', v: 1, log: this.log, sequence: this.#sequence + 1, previous: this.#hash }));
    return this;
  }

  entry(event: Partial<AuditEvent> = {}): this {
    this.#sequence += 1;
    const sequence = this.#sequence;
    const time = new Date(auditStartMs + sequence * 1000).toISOString();
    const told = {
      id: `e${sequence}`,
      time,
      actor: 'coordinator',
      reason: 'CertificateIssued',
      type: 'Normal',
      serial: `0${sequence}`,
      ...event,
    };
    const { text, hash } = entryText(this.#hash, { sequence, revision: sequence * 2 }, told);
    this.#starts.push({ previous: this.#hash, line: this.lines.length });
    this.#hash = hash;
    this.lines.push(text);
    return this;
  }

  entries(count: number): this {
    for (let i = 0; i < count; i++) this.entry();
    return this;
  }

  async checkpoint({ certificate, sign }: AuditKey): Promise<this> {
    const time = new Date(auditStartMs + this.#sequence * 1000).toISOString();
    const state = { log: this.log, sequence: this.#sequence, hash: this.#hash, time };
    const body: Omit<AuditCheckpoint, 'signature'> = { type: 'checkpoint', ...state, certificate: certificate.toString('base64') };
    const line: AuditCheckpoint = { ...body, signature: encodeSignature(await sign(checkpointBytes(body))) };
    this.#hash = afterCheckpoint(this.#hash, line);
    this.lines.push(formatLine(line));
    return this;
  }

  /** As it is exported from an entry on. */
  from(sequence: number): string {
    const { previous, line } = this.#starts[Math.max(0, sequence - 1)] ?? { previous: this.#hash, line: this.lines.length };
    const header = formatLine({ type: 'header', v: 1, log: this.log, sequence: Math.max(1, sequence), previous });
    return (
      header +
      this.lines
        .slice(line)
        .filter((text) => !text.includes('"type":"header"'))
        .join('')
    );
  }

  get text(): string {
    return this.lines.join('');
  }
}

/** Of texts or bytes, each as a file. */
export function verifyTexts(texts: readonly (string | Buffer)[], keys: readonly AuditKey[], partial = false): Promise<AuditReport> {
  const sources = texts.map((text, index) => ({ name: `file-${index + 1}`, bytes: inPieces(Buffer.from(text)) }));
  return verifyAuditLog(sources, { anchors: keys.map(({ ca }) => ca.der), partial });
}

async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}

export function kinds({ faults }: AuditReport): string[] {
  return [...new Set(faults.map(({ kind }) => kind))].sort();
}
