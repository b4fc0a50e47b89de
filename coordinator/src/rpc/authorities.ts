import type { CertificateAuthority } from '@evercert/proto';
import type { DesiredStates } from '../desired/desired-states.ts';
import { endingOf, liveLeaves, type RotationRecords } from '../rotation/index.ts';
import type { Model } from '../state/model.ts';
import type { AuthorityRecord } from '../state/records.ts';
import { authorityToProto } from './convert.ts';

export interface AuthorityViewsOptions {
  model: Model;
  desired: DesiredStates;
  /** Kind of the provider that has a CA's key; undefined: none has it. */
  keyProviderOf: (keyId: string) => Promise<string | undefined>;
  rotationRecords: RotationRecords;
  nowMs: () => number;
}

/** CAs with what is known of them beside their records. */
export function authorityViews(
  { model, desired, keyProviderOf, rotationRecords, nowMs }: AuthorityViewsOptions,
  authorities: readonly AuthorityRecord[],
): Promise<CertificateAuthority[]> {
  return Promise.all(
    authorities.map(async (authority) => {
      const { cluster, name, keyId } = authority;
      const keyProvider = keyId === '' ? undefined : await keyProviderOf(keyId);
      const rotation = rotationRecords.runningOf(cluster, name)?.id;
      const ending = endingOf(authority, nowMs());
      return authorityToProto(authority, {
        ...(keyProvider !== undefined && { keyProvider }),
        ...(rotation !== undefined && { rotation }),
        ...(ending !== undefined && { ending }),
        live: liveLeaves({ model, desired }, authority, nowMs()),
      });
    }),
  );
}
