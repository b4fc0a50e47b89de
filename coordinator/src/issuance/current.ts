import { layout } from '../state/layout.ts';
import { type CertificateRecord, type CurrentRecord, decodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';

/** The newest certificate of a node and name, as the store has it now; undefined when there was none, or when it is forgotten already. */
export async function currentCertificate(
  store: Store,
  cluster: string,
  node: string,
  name: string,
): Promise<CertificateRecord | undefined> {
  const key = layout.current(cluster, node, name);
  const current = await store.get(key);
  if (!current) return undefined;
  const { serial } = decodeRecord<CurrentRecord>(key, current.value);
  const certificateKey = layout.certificate(cluster, serial);
  const certificate = await store.get(certificateKey);
  return certificate && decodeRecord<CertificateRecord>(certificateKey, certificate.value);
}
