/**
 * Does one thing to a certificate's files and ends; tests kill it at a fault point. Arguments: FOLDER STRATEGY ACTION. The CA, the key pair and the
 * specification are taken from the folder, where `writeChildInput` put them.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PairStrategy } from '@evercert/agent/files';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import { certificatesFromPem } from '@evercert/shared/x509';
import { startMs, type TestCa, TestDisk, testCaFromPem } from './pair.ts';

export type ChildAction = 'install' | 'restore' | 'adopt';

/** Leaves in the folder what the child needs. */
export function writeChildInput(disk: TestDisk, ca: TestCa, spec: ResolvedCertificate): void {
  writeFileSync(join(disk.folder, 'ca.pem'), ca.pem, { mode: 0o600 });
  writeFileSync(join(disk.folder, 'spec.json'), JSON.stringify(spec));
}

async function main([folder, pairStrategy, action]: string[]): Promise<void> {
  const disk = new TestDisk(folder);
  const files = disk.files({ pairStrategy: pairStrategy as PairStrategy });
  const pem = readFileSync(join(disk.folder, 'ca.pem'), 'utf8');
  const spec = JSON.parse(readFileSync(join(disk.folder, 'spec.json'), 'utf8')) as ResolvedCertificate;
  const anchors = certificatesFromPem(pem);
  if (action === 'restore') return void (await files.restore(spec, anchors));
  if (action === 'adopt') {
    const look = await files.findInPlace(spec, anchors);
    if (!('found' in look)) throw new Error(look.why ?? 'nothing is in place');
    return void (await files.adopt(spec, look.found, { adoptedAtMs: startMs, renewAtMs: startMs + 1000 }));
  }
  const { privateKey } = await files.ensurePendingKey(spec);
  await files.savePendingChain(spec.name, await testCaFromPem(pem).issue(spec, privateKey), startMs);
  await files.install(spec, anchors);
}

if (import.meta.main) await main(process.argv.slice(2));
