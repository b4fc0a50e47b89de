import { formatDuration } from '@evercert/shared/config';
import { visible } from '@evercert/shared/text';
import type { AgentStatus, CertificateLine } from './types.ts';

/** The status for a person; `nowMs` for what is shown as a distance. */
export function statusTable(status: AgentStatus, nowMs: number): string {
  const { identity, connection, certificates, bundles, keyPairs, revocationLists, components, controlTrust } = status;
  const lines = [
    `Node        ${identity.nodeName}${identity.cluster ? ` in cluster ${identity.cluster} (${identity.role})` : ''}`,
    `Identity    ${identity.state}${identity.notAfter ? `, expires ${distance(identity.notAfter, nowMs)}` : ''}`,
    ...(identity.message ? [`            ${identity.message}`] : []),
    ...controlTrust.pins.map((pin, index) => `${(index === 0 ? 'Control CA' : '').padEnd(12)}${pin}`),
    ...(controlTrust.lastError ? [`            ${controlTrust.lastError}`] : []),
    `Connection  ${connection.state}${connection.endpoint ? ` ${connection.endpoint}` : ''}`,
    ...(connection.endpoints.length > 1 ? [`            known: ${connection.endpoints.join(', ')}`] : []),
    ...(connection.lastError && connection.state !== 'Connected' ? [`            ${connection.lastError}`] : []),
    '',
    ...columns(
      ['NAME', 'STATE', 'SERIAL', 'EXPIRES', 'RENEWS', 'SERVED', 'ERROR'],
      certificates.map((line) => certificateRow(line, nowMs)),
    ),
  ];
  if (bundles.length > 0) {
    const rows = bundles.map(({ name, state, version, served, lastError, servedMessage }) => [
      name,
      state,
      String(version),
      served || '-',
      oneLine(lastError || servedMessage),
    ]);
    lines.push('', ...columns(['BUNDLE', 'STATE', 'VERSION', 'SERVED', 'ERROR'], rows));
  }
  if (keyPairs.length > 0) {
    const rows = keyPairs.map(({ name, state, lastError }) => [name, state, oneLine(lastError)]);
    lines.push('', ...columns(['KEY PAIR', 'STATE', 'ERROR'], rows));
  }
  if (revocationLists.length > 0) {
    const rows = revocationLists.map(({ name, state, number, lastError }) => [name, state, String(number), oneLine(lastError)]);
    lines.push('', ...columns(['CRL', 'STATE', 'NUMBER', 'ERROR'], rows));
  }
  if (components.length > 0) {
    const rows = components.map(({ name, state, checkedAt, message }) => [name, state, distance(checkedAt, nowMs), oneLine(message)]);
    lines.push('', ...columns(['COMPONENT', 'STATE', 'CHECKED', 'SEEN'], rows));
  }
  // The coordinator's and components' words are among it: they must not steer the terminal.
  return visible(`${lines.join('\n')}\n`);
}

function certificateRow(line: CertificateLine, nowMs: number): string[] {
  const { name, state, serial, notAfter, nextRenewalAt, served, lastError } = line;
  return [name, state, serial.slice(0, 12), distance(notAfter, nowMs), distance(nextRenewalAt, nowMs), served || '-', oneLine(lastError)];
}

function distance(time: string | undefined, nowMs: number): string {
  if (time === undefined) return '-';
  const ms = Date.parse(time) - nowMs;
  const text = formatDuration(Math.floor(Math.abs(ms) / 1000) * 1000);
  return ms < 0 ? `${text} ago` : `in ${text}`;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').slice(0, 160);
}

function columns(head: string[], rows: string[][]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
