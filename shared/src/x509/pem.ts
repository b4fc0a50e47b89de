/** PEM (RFC 7468). */
import { EvercertError } from '../errors/index.ts';

const maxTextLength = 4 * 1024 * 1024;
const begin = /^-----BEGIN ([A-Z0-9 ]{1,64})-----\s*$/;
const end = /^-----END ([A-Z0-9 ]{1,64})-----\s*$/;
const certificateLabels = new Set(['CERTIFICATE', 'X509 CERTIFICATE']);

export interface PemBlock {
  /** As `CERTIFICATE` or `PRIVATE KEY`. */
  label: string;
  der: Buffer;
  /** 1-based line of the block's BEGIN. */
  line: number;
}

export function toPem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.map((line) => `${line}\n`).join('')}-----END ${label}-----\n`;
}

export function certificatesToPem(ders: readonly Buffer[]): string {
  return ders.map((der) => toPem('CERTIFICATE', der)).join('');
}

/**
 * All blocks of a text, of whatever label; what stands around them is skipped, as are the header lines of old encrypted keys.
 * InvalidCertificate, with the line: broken base64, a block without its end, more than 4 MiB.
 */
export function pemBlocks(text: string | Buffer): PemBlock[] {
  if (text.length > maxTextLength)
    throw new EvercertError('InvalidCertificate', `a PEM text has ${text.length} bytes, more than ${maxTextLength}`);
  const blocks: PemBlock[] = [];
  let open: { label: string; line: number; lines: string[] } | undefined;
  for (const [index, line] of text
    .toString()
    .split(/\r\n|\n|\r/)
    .entries()) {
    const beginLabel = begin.exec(line)?.[1];
    const endLabel = end.exec(line)?.[1];
    if (open === undefined) {
      if (beginLabel !== undefined) open = { label: beginLabel, line: index + 1, lines: [] };
    } else if (endLabel === open.label) {
      blocks.push({ label: open.label, line: open.line, der: decodeBody(open) });
      open = undefined;
    } else if (beginLabel !== undefined || endLabel !== undefined) throw unended(open);
    else open.lines.push(line.trim());
  }
  if (open !== undefined) throw unended(open);
  return blocks;
}

/** The certificates of a text in their order; other blocks are skipped. InvalidCertificate: none in it, or as `pemBlocks`. */
export function certificatesFromPem(text: string | Buffer): Buffer[] {
  const found = pemBlocks(text).filter((block) => certificateLabels.has(block.label));
  if (found.length === 0)
    throw new EvercertError('InvalidCertificate', 'there is no certificate in the PEM text; expected a block BEGIN CERTIFICATE');
  return found.map((block) => block.der);
}

function decodeBody({ label, line, lines }: { label: string; line: number; lines: string[] }): Buffer {
  const blank = lines.some((text) => text.includes(':')) ? lines.indexOf('') : -1;
  const body = lines.slice(blank + 1);
  const bad = body.findIndex((text) => !/^[A-Za-z0-9+/]*={0,2}$/.test(text));
  if (bad >= 0) throw broken(line + blank + 2 + bad, label, 'is not base64');
  const base64 = body.join('');
  const der = Buffer.from(base64, 'base64');
  // Buffer.from skips what it does not understand, so padding in the middle or a cut group shows only in the way back.
  if (base64 === '' || der.toString('base64') !== base64) throw broken(line, label, 'has broken base64');
  return der;
}

function broken(line: number, label: string, what: string): EvercertError {
  return new EvercertError('InvalidCertificate', `line ${line}: the PEM block ${label} ${what}`, {
    faults: [{ field: '', line, message: `the PEM block ${label} ${what}` }],
  });
}

function unended({ line, label }: { line: number; label: string }): EvercertError {
  return broken(line, label, 'has no end; expected a line of END with the same label');
}
