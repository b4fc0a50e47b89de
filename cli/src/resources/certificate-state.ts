import { type Certificate, CertificateStatus, ChangeType, type Node, type WatchResponse } from '@evercert/proto';

/** A certificate with what its node says of the certificate of that name; undefined: it has said nothing, or is gone. */
export interface ListedCertificate extends Certificate {
  reported?: CertificateStatus | undefined;
}

/** `nowMs` undefined: what time alone would change is left out. */
export function stateOf(certificate: ListedCertificate, nowMs?: number): string {
  const { reported } = certificate;
  if (!certificate.current) return 'Superseded';
  if (nowMs !== undefined && certificate.notAfter && certificate.notAfter.getTime() <= nowMs) return 'Expired';
  if (certificate.revokedBy.length > 0) return 'Revoked';
  if (!reported) return 'Unknown';
  // Issued, but another one is in place: the answer was lost, or it is being installed just now.
  return reported.serial === certificate.serial ? reported.state || 'Unknown' : 'NotInstalled';
}

/** What nodes report of their certificates, by node and name. */
export class NodeReports {
  readonly #byNode = new Map<string, Map<string, CertificateStatus>>();

  put({ cluster, name, status }: Node): void {
    const statuses = new Map((status?.certificates ?? []).map((one) => [one.name, one]));
    if (status && status.identitySerial !== '' && !statuses.has('identity'))
      statuses.set('identity', identityStatus(status.identitySerial));
    this.#byNode.set(`${cluster}/${name}`, statuses);
  }

  drop({ cluster, name }: Node): void {
    this.#byNode.delete(`${cluster}/${name}`);
  }

  join(certificate: Certificate): ListedCertificate {
    return { ...certificate, reported: this.#byNode.get(`${certificate.cluster}/${certificate.node}`)?.get(certificate.name) };
  }
}

/** The coordinator itself knows which identity a node has; the node's report speaks of the others alone. */
function identityStatus(serial: string): CertificateStatus {
  return CertificateStatus.fromPartial({ name: 'identity', state: 'Ready', serial });
}

interface ReportWatch {
  note(response: WatchResponse): ListedCertificate[];
  complete(certificate: ListedCertificate): ListedCertificate;
}

/** Joins a watch's certificates with its nodes: a certificate whose node reports another state of it is told again. */
export function watchReports(): ReportWatch {
  const reports = new NodeReports();
  const known = new Map<string, ListedCertificate>();
  return {
    note({ type, object }) {
      if (object?.$case !== 'node') return [];
      const node = object.value;
      if (type === ChangeType.DELETED) reports.drop(node);
      else reports.put(node);
      const changed: ListedCertificate[] = [];
      for (const [key, before] of known) {
        if (before.cluster !== node.cluster || before.node !== node.name) continue;
        const after = reports.join(before);
        known.set(key, after);
        if (stateOf(before) !== stateOf(after)) changed.push(after);
      }
      return changed;
    },
    complete(certificate) {
      const joined = reports.join(certificate);
      const key = `${certificate.cluster}/${certificate.node}/${certificate.name}`;
      if (certificate.current) known.set(key, joined);
      return joined;
    },
  };
}
