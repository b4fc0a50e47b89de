import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { removeIfThere, syncDirectory, writeFileDurable } from '@evercert/shared/files';
import type { Logger } from '@evercert/shared/logging';
import { certificateDetails } from '../events/details.ts';
import { EventRecorder } from '../events/recorder.ts';
import { layout } from '../state/layout.ts';
import { type CertificateRecord, decodeRecord, encodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';

const suffix = '.json';

/** Where a coordinator notes it. */
export function emergencyFolder(dataDir: string): string {
  return join(dataDir, 'emergency');
}

/** Notes what was signed without the store, durably, before anybody gets it. */
export async function noteEmergency(folder: string, records: readonly CertificateRecord[]): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const record of records) await writeFileDurable(join(folder, `${record.serial}${suffix}`), encodeRecord(record), { mode: 0o600 });
  await syncDirectory(folder);
}

/** Tells the store of what was signed without it, at the next start: each is then a certificate like any other, to be found, revoked and audited. Returns how many there were. */
export async function recordEmergencies(
  folder: string,
  { store, clock, logger }: { store: Store; clock: Clock; logger: Logger },
): Promise<number> {
  const events = new EventRecorder(store, clock, logger);
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(suffix));
  for (const name of names) {
    const path = join(folder, name);
    const record = decodeRecord<CertificateRecord>(path, await readFile(path));
    const key = layout.certificate(record.cluster, record.serial);
    await store.transact([{ key, modRevision: 0 }], [{ type: 'put', key, value: encodeRecord(record) }, eventOf(events, record)]);
    await removeIfThere(path);
  }
  return names.length;
}

function eventOf(events: EventRecorder, record: CertificateRecord) {
  const { cluster, node, name, serial, issuer, issuedAtMs, notAfterMs } = record;
  return events.operation({
    cluster,
    node,
    actor: 'operator',
    reason: 'CertificateIssued',
    warning: true,
    certificate: name,
    serial,
    timeMs: issuedAtMs,
    message: `issued ${name} by ${issuer} until ${new Date(notAfterMs).toISOString()} in an emergency, without the store, for the key that the node had`,
    details: certificateDetails(record),
  });
}
