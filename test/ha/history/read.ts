/** Reads a history from its folder, with what Node itself has and nothing of Evercert's own. */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Action, Entry, History, Machine, Seen, Stored } from './types.ts';

/** What the recorder wrote of a machine: a line for each version of a file, and one at the end. */
interface Recorded {
  file: string;
  firstMs: number;
  lastMs: number;
  pem: string;
}

interface End {
  node: string;
  endMs: number;
  gone: boolean;
  /** The agent's own folder, and what stands for `/` of the machine. */
  stateDir: string;
  rootDir: string;
}

/**
 * `audit.jsonl` as it was exported, `store.jsonl` with all records of the store, `provisioner.jsonl`, and in `machines` what the recorder has seen of each, beside the agents' folders themselves.
 */
export function readHistory(folder: string): History {
  const machines = join(folder, 'machines');
  const ids = readdirSync(machines).flatMap((name) => (name.endsWith('.jsonl') ? [name.slice(0, -'.jsonl'.length)] : []));
  return {
    machines: ids.map((id) => readMachine(id, lines(join(machines, `${id}.jsonl`)), json(join(machines, `${id}.end.json`)))),
    entries: readLog(lines(join(folder, 'audit.jsonl'))),
    stored: (lines(join(folder, 'store.jsonl')) as { key: string; value: string }[]).flatMap(readRecord),
    actions: lines(join(folder, 'provisioner.jsonl')) as Action[],
  };
}

function readMachine(id: string, recorded: unknown[], { node, endMs, gone, stateDir, rootDir }: End): Machine {
  const seen = (recorded as Recorded[]).map(({ file, firstMs, lastMs, pem }): Seen => {
    const certificate = new X509Certificate(pem);
    return {
      ...{ machine: id, node, file, firstMs, lastMs },
      serial: certificate.serialNumber.toLowerCase(),
      publicKey: publicKeyOf(certificate),
      notAfterMs: certificate.validToDate.getTime(),
    };
  });
  return { id, node, seen, endMs, gone, lapses: lapsesOf(stateDir), damage: gone ? [] : damageOf(rootDir, stateDir) };
}

function publicKeyOf(certificate: X509Certificate): string {
  return createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

/** As the agent has counted them. */
function lapsesOf(stateDir: string): number {
  const path = join(stateDir, 'counters.json');
  if (!existsSync(path)) return 0;
  const { certificates } = json(path) as { certificates: Record<string, { lapses?: number }> };
  return Object.values(certificates).reduce((sum, { lapses = 0 }) => sum + lapses, 0);
}

/** Every file that holds a key and a certificate holds two that belong together. */
function damageOf(rootDir: string, stateDir: string): string[] {
  const identity = json(join(stateDir, 'identity', 'identity.json')) as { chain: string; privateKey: string };
  const texts = new Map([['identity', identity.chain + identity.privateKey]]);
  for (const path of readdirSync(rootDir, { recursive: true, encoding: 'utf8' })) {
    // Names that begin with a dot are the agent's own: versions, temporary files.
    if (path.endsWith('.pem') && !path.split('/').some((part) => part.startsWith('.')))
      texts.set(path, readFileSync(join(rootDir, path), 'utf8'));
  }
  return [...texts].flatMap(([path, text]) => {
    if (!text.includes('PRIVATE KEY')) return [];
    const fits = new X509Certificate(text).checkPrivateKey(createPrivateKey(text));
    return fits ? [] : [`${path}: key and certificate do not belong together`];
  });
}

interface Line {
  type: 'header' | 'entry' | 'checkpoint';
  log?: string;
  sequence: number;
  previous?: string;
  hash: string;
  event: {
    time: string;
    reason: string;
    node?: string;
    certificate?: string;
    serial?: string;
    message?: string;
    details?: Record<string, string>;
  };
}

/** The log's entries, each with whether it is linked to what is before it. */
export function readLog(all: unknown[]): Entry[] {
  let value = '';
  return (all as Line[]).flatMap((line) => {
    if (line.type === 'header') {
      value = line.sequence === 1 ? sha256(`evercert audit log v1\n${line.log}`) : (line.previous ?? '');
      return [];
    }
    const { hash, ...body } = line;
    const link = (of: unknown): string => sha256(Buffer.concat([Buffer.from(value, 'hex'), Buffer.from(canonical(of))]));
    if (line.type === 'checkpoint') {
      value = link(line);
      return [];
    }
    const linked = link(body) === hash;
    value = hash;
    const { time, reason, node = '', certificate = '', serial = '', message = '', details = {} } = line.event;
    const publicKey = details['publicKeySha256'] ?? '';
    return [{ sequence: line.sequence, linked, timeMs: Date.parse(time), reason, node, certificate, serial, publicKey, message }];
  });
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Keys sorted, no white space. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${canonical(field)}`).join(',')}}`;
}

function readRecord({ key, value }: { key: string; value: string }): Stored[] {
  if (!/^\/evercert\/v1\/certificates\//.test(key)) return [];
  const { node, name, serial, certificate } = JSON.parse(value) as Record<'node' | 'name' | 'serial' | 'certificate', string>;
  const publicKey = publicKeyOf(new X509Certificate(Buffer.from(certificate, 'base64')));
  return [{ key, node, certificate: name, serial, publicKey }];
}

function json<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8')) as T;
}

function lines(path: string): unknown[] {
  const text = readFileSync(path, 'utf8');
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as unknown]));
}
