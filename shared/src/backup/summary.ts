import type { BackupAbout, BackupManifest } from './types.ts';

/** A backup in a few lines, for people; no line feed at its end. */
export function backupSummary({ about, manifest }: { about: BackupAbout; manifest: BackupManifest }): string {
  const { parts, whole, keysElsewhere } = manifest;
  const rows = [
    ['PART', 'ENTRIES', 'BYTES', 'SHA-256'],
    ...[...Object.entries(parts), ['all', whole] as const].map(([name, { entries, bytes, sha256 }]) => [
      name,
      String(entries),
      String(bytes),
      sha256,
    ]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const elsewhere = keysElsewhere.length === 0 ? [] : [`Keys that are not in it: ${keysElsewhere.join(', ')}.`];
  return [
    `Backup ${about.id} of ${about.createdAt}, store revision ${about.storeRevision}, by ${about.coordinatorVersion}.`,
    `Clusters: ${about.clusters.join(', ') || 'none'}. CA keys: ${about.keyProviders.join(', ')}.`,
    ...rows.map((row) => row.map((cell, column) => (column < 3 ? cell.padEnd(widths[column] ?? 0) : cell)).join('  ')),
    ...elsewhere,
  ].join('\n');
}
