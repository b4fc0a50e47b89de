import type { CertificateView } from '../cluster/status.ts';
import type { Colour, Paint } from './ansi.ts';

const full = '█';
const rest = '░';
const dueMark = '│';
const blocks = [...'▁▂▃▄▅▆▇█'];
const badStates = new Set(['Expired', 'Failed', 'Revoked']);

/** Part of the life that has passed, 0 to 1; undefined when there is no certificate yet. */
function elapsedPart({ startMs, endMs }: CertificateView, nowMs: number): number | undefined {
  if (startMs === undefined || endMs === undefined || endMs <= startMs) return undefined;
  return Math.min(1, Math.max(0, (nowMs - startMs) / (endMs - startMs)));
}

/** Green while young, yellow once its renewal is due, red in the last sixth of its life, and for what failed or is revoked. */
export function colourOf(certificate: CertificateView, nowMs: number): Colour {
  const part = elapsedPart(certificate, nowMs);
  if (part === undefined) return 'dim';
  if (part >= 5 / 6 || badStates.has(certificate.state)) return 'red';
  const due = certificate.dueMs !== undefined && nowMs >= certificate.dueMs;
  return due || certificate.state === 'RenewalFailing' ? 'yellow' : 'green';
}

/** A bar of the life: what has passed, what is left, and a mark where renewal is due. */
export function lifeBar(certificate: CertificateView, nowMs: number, width: number, paint: Paint): string {
  const part = elapsedPart(certificate, nowMs);
  if (part === undefined) return paint('dim', rest.repeat(width));
  const passed = Math.round(part * width);
  const colour = colourOf(certificate, nowMs);
  const mark = duePosition(certificate, width);
  const pieces = Array.from({ length: width }, (_, index) => (index === mark ? dueMark : index < passed ? full : rest));
  return paint(colour, pieces.slice(0, passed).join('')) + paint('dim', pieces.slice(passed).join(''));
}

/** One character for one certificate: the higher, the older. */
export function lifeBlock(certificate: CertificateView, nowMs: number, paint: Paint): string {
  const part = elapsedPart(certificate, nowMs);
  if (part === undefined) return paint('dim', '·');
  return paint(colourOf(certificate, nowMs), blocks[Math.min(blocks.length - 1, Math.floor(part * blocks.length))] ?? full);
}

function duePosition({ startMs, endMs, dueMs }: CertificateView, width: number): number | undefined {
  if (startMs === undefined || endMs === undefined || dueMs === undefined || dueMs <= startMs || dueMs >= endMs) return undefined;
  return Math.min(width - 1, Math.floor(((dueMs - startMs) / (endMs - startMs)) * width));
}
