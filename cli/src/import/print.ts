/** The findings of an import, as a table: worst first. */
import type { ImportFinding } from '@evercert/proto';
import { orNone, renderTable } from '../output/table.ts';

const severities = ['Error', 'Warning', 'Info'];

export function sortFindings(findings: readonly ImportFinding[]): ImportFinding[] {
  return findings.toSorted((a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity));
}

export function renderFindings(findings: readonly ImportFinding[], noHeaders: boolean): string {
  const rows = findings.map(({ severity, kind, certificate, path, message }) => [
    severity,
    kind,
    orNone(certificate),
    orNone(path),
    message,
  ]);
  const table = renderTable(['SEVERITY', 'KIND', 'CERTIFICATE', 'FILE', 'FINDING'], rows, { noHeaders });
  const count = (severity: string, noun: string): string => {
    const number = findings.filter((one) => one.severity === severity).length;
    return `${number} ${noun}${number === 1 ? '' : 's'}`;
  };
  return `${table}\n${count('Error', 'error')}, ${count('Warning', 'warning')}, ${count('Info', 'note')}\n`;
}
