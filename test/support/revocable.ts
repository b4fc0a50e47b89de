/** A coordinator with a cluster whose certificates name CRL and responder, for tests of what is revoked. */
import type { KeyObject } from 'node:crypto';
import { ClusterSpec } from '@evercert/proto';
import { unary } from '@evercert/shared/grpc';
import { generateKeyPair, parseCertificate } from '@evercert/shared/x509';
import { createToken, deadline, enroll, startTestCoordinator, type TestCoordinator, type TestNode } from './coordinator.ts';
import { desiredState, issue } from './node-calls.ts';

export const revocableCluster = 'demo';

export interface IssuedPair {
  /** DER. */
  certificate: Buffer;
  privateKey: KeyObject;
  serial: string;
}

export interface RevokedSerial {
  serial: string;
  reason?: string;
  /** True by default, as in the product. */
  includeSuccessors?: boolean;
}

export interface RevocableCluster {
  coordinator: TestCoordinator;
  /** `http://HOST:PORT` of CRL and OCSP. */
  url: string;
  join(name: string, address: string): Promise<TestNode>;
  /** A new key and certificate of that name, as the node's agent would get them. */
  issue(node: TestNode, name: string): Promise<IssuedPair>;
  apply(yaml: string): Promise<void>;
  /** One object with one entry by serial for each. */
  revoke(object: string, entries: readonly RevokedSerial[]): Promise<void>;
  /** The CRL as it is served. */
  crl(issuer: string): Promise<Buffer>;
}

const certificates = `
apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: checked }
spec:
  issuer: cluster-ca
  subject: { commonName: "{{ node.name }}" }
  dnsNames: ["{{ node.name }}"]
  usages: [digital signature, server auth, client auth]
  revocationInfo: { crl: true, ocsp: true }
  files: { certificate: /etc/kubernetes/checked.crt, privateKey: /etc/kubernetes/checked.key }
`;

export async function startRevocableCluster(
  config: Record<string, unknown> = {},
  spec = ClusterSpec.fromPartial({}),
): Promise<RevocableCluster> {
  const coordinator = await startTestCoordinator({ config });
  const { admin } = coordinator;
  await unary(admin.createCluster.bind(admin), { name: revocableCluster, spec }, deadline);
  const url = `http://${coordinator.webAddress}`;
  const apply = async (yaml: string): Promise<void> => {
    await unary(
      admin.apply.bind(admin),
      { cluster: revocableCluster, documents: [{ source: 'test.yaml', yaml }], dryRun: false },
      deadline,
    );
  };
  await apply(certificates);
  return {
    coordinator,
    url,
    apply,
    async join(name, address) {
      const token = await createToken(coordinator, revocableCluster, { nodeName: name, addresses: [address] });
      return await enroll(coordinator, { token, name });
    },
    async issue(node, name) {
      const { certificates: declared } = await desiredState(node.client);
      const found = declared.find((each) => each.name === name);
      if (!found) throw new Error(`${name} is not declared for ${node.name}`);
      const { privateKey } = await generateKeyPair('ecdsa-p384');
      const [certificate = Buffer.alloc(0)] = await issue(node.client, name, found.specHash, privateKey);
      return { certificate: Buffer.from(certificate), privateKey, serial: parseCertificate(Buffer.from(certificate)).serial };
    },
    async revoke(object, entries) {
      const revocations = entries.map(({ serial, ...more }) => ({ kind: 'SerialNumber', serialNumber: serial, ...more }));
      await apply(
        JSON.stringify({ apiVersion: 'evercert.io/v1', kind: 'RenewRevocation', metadata: { name: object }, spec: { revocations } }),
      );
    },
    async crl(issuer) {
      const response = await fetch(`${url}/crl/${revocableCluster}/${issuer}.crl`);
      if (!response.ok) throw new Error(`the CRL of ${issuer} could not be had: ${response.status}`);
      return Buffer.from(await response.arrayBuffer());
    },
  };
}
