/** Between the protocol and the agent's domain. What several parts share is in @evercert/shared/wire. */
import type * as proto from '@evercert/proto';
import { toEvercertError } from '@evercert/shared/errors';
import {
  desiredBundleFromProto,
  desiredCertificateFromProto,
  desiredKeyPairFromProto,
  desiredRevocationListFromProto,
} from '@evercert/shared/wire';
import type { CertificateSnapshot, DesiredCertificate, RevokedBy } from '../certificates/types.ts';
import type { DesiredState } from '../desired/types.ts';
import type { RecordedEvent } from '../events.ts';
import { assertName } from '../files/index.ts';
import type { ComponentSnapshot } from '../health/checker.ts';
import type { BundleSnapshot } from '../plain/bundles.ts';
import type { KeyPairSnapshot } from '../plain/key-pairs.ts';
import type { RevocationListSnapshot } from '../plain/revocation-lists.ts';

/** What is not understood (a newer coordinator's words) is named, not dropped silently and not allowed to spoil the rest. */
export function desiredStateFromProto(state: proto.DesiredState): DesiredState {
  const notUnderstood: DesiredState['notUnderstood'] = [];
  const each = <From extends { name: string }, To>(items: From[], convert: (item: From) => To): To[] =>
    items.flatMap((item) => {
      try {
        // Names become names of files and folders here: what the coordinator checks is not believed.
        assertName(item.name);
        return [convert(item)];
      } catch (error) {
        notUnderstood.push({ name: item.name, message: toEvercertError(error).message });
        return [];
      }
    });
  return {
    revision: state.revision,
    certificates: each(state.certificates, certificate),
    bundles: each(state.bundles, desiredBundleFromProto),
    keyPairs: each(state.keyPairs, desiredKeyPairFromProto),
    revocationLists: each(state.revocationLists, desiredRevocationListFromProto),
    controlTrustAnchors: state.controlTrustAnchors.map((der) => Buffer.from(der)),
    healthChecks: state.healthChecks.map((check) => ({ ...check, trustAnchors: anchorsOf(state, check.issuer) })),
    notUnderstood,
    renewIdentitySerial: state.renewIdentitySerial,
    retiredControlCaPins: state.retiredControlCaPins,
  };
}

/** What this node knows of a CA: by a bundle, else by a certificate that it issues. */
function anchorsOf({ bundles, certificates }: proto.DesiredState, issuer: string): Buffer[] {
  const bundle = bundles.find((each) => each.issuer === issuer)?.certificates;
  const found = bundle ?? certificates.find((each) => each.issuer === issuer)?.trustAnchors ?? [];
  return found.map((der) => Buffer.from(der));
}

function certificate(from: proto.DesiredCertificate): DesiredCertificate {
  return {
    spec: desiredCertificateFromProto(from),
    trustAnchors: from.trustAnchors.map((der) => Buffer.from(der)),
    ...(from.renewIfIssuedBefore && { renewIfIssuedBeforeMs: from.renewIfIssuedBefore.getTime() }),
    ...(from.revoked && { revoked: revokedBy(from.revoked) }),
    ...(from.adopt && { adopt: true }),
    ...(from.watchOnly && { watchOnly: true }),
    ...(from.knownSerial !== undefined && { knownSerial: from.knownSerial }),
  };
}

function revokedBy({ notBefore, ...rest }: proto.RevocationReference): RevokedBy {
  return { ...rest, ...(notBefore && { notBeforeMs: notBefore.getTime() }) };
}

export interface Report {
  certificates: CertificateSnapshot[];
  bundles: BundleSnapshot[];
  keyPairs: KeyPairSnapshot[];
  revocationLists: RevocationListSnapshot[];
  components: ComponentSnapshot[];
  appliedRevision: string;
  /** Of the identity in use; empty: there is none. */
  identitySerial: string;
  /** Of the control CAs that are trusted. */
  controlCaPins: string[];
}

/** Texts in a report are bounded: it goes out often. */
const maxText = 1000;

export function reportToProto({ certificates, bundles, keyPairs, revocationLists, components, ...same }: Report): proto.StatusReport {
  return {
    ...same,
    certificates: certificates.map(certificateStatus),
    bundles: bundles.map(({ lastError, servedMessage, ...rest }) => ({
      ...rest,
      lastError: lastError.slice(0, maxText),
      servedMessage: servedMessage.slice(0, maxText),
    })),
    keyPairs: keyPairs.map((pair) => ({ ...pair, lastError: pair.lastError.slice(0, maxText) })),
    components: components.map(({ checkedAtMs, ...rest }) => ({
      ...rest,
      message: rest.message.slice(0, maxText),
      checkedAt: new Date(checkedAtMs),
    })),
    revocationLists: revocationLists.map((list) => ({ ...list, lastError: list.lastError.slice(0, maxText) })),
  };
}

function certificateStatus(snapshot: CertificateSnapshot): proto.CertificateStatus {
  const { notBeforeMs, notAfterMs, nextRenewalAtMs, lastRenewalAtMs, ...rest } = snapshot;
  return {
    ...rest,
    lastError: rest.lastError.slice(0, maxText),
    notBefore: date(notBeforeMs),
    notAfter: date(notAfterMs),
    nextRenewalAt: date(nextRenewalAtMs),
    lastRenewalAt: date(lastRenewalAtMs),
  };
}

export function eventToProto({ id, atMs, reason, type, message, certificate, serial, errorCode }: RecordedEvent): proto.AgentEvent {
  return {
    id,
    time: new Date(atMs),
    reason,
    type,
    message,
    certificate: certificate ?? '',
    serial: serial ?? '',
    errorCode: errorCode ?? '',
  };
}

function date(ms: number | undefined): Date | undefined {
  return ms === undefined ? undefined : new Date(ms);
}

export function durationToMs(duration: { seconds: number; nanos: number } | undefined): number | undefined {
  return duration && duration.seconds * 1000 + duration.nanos / 1_000_000;
}
