import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AdminServiceClient,
  type ClusterSpec,
  type CreateTokenResponse,
  type Event,
  type Node,
  type RepairOutcome,
  type RepairResponse,
  type Role,
} from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { createClientCredentials, fromServiceError, type UnaryMethod, unary } from '@evercert/shared/grpc';
import { certificatesFromPem, privateKeyFromPem } from '@evercert/shared/x509';
import { parse, stringify } from 'yaml';

/** Making a cluster makes its CA keys, and RSA 4096 ones take seconds each. */
const slowCallMs = 120_000;
const callMs = 10_000;
const maxPages = 1000;

/** The admin API of the running coordinator, with the admin credential that its first start made. Calls reject with the coordinator's own EvercertError. */
export class AdminApi {
  readonly client: AdminServiceClient;

  constructor(client: AdminServiceClient) {
    this.client = client;
  }

  /** `adminDir` holds ca.crt, admin.crt and admin.key. FileSystem while it does not. */
  static async open(address: string, adminDir: string): Promise<AdminApi> {
    const read = async (name: string): Promise<string> => await readFile(join(adminDir, name), 'utf8');
    try {
      const [anchors, chain, key] = await Promise.all([read('ca.crt'), read('admin.crt'), read('admin.key')]);
      const credentials = createClientCredentials({
        trustAnchors: certificatesFromPem(anchors),
        chain: certificatesFromPem(chain),
        privateKey: privateKeyFromPem(key),
      });
      const backoff = { 'grpc.initial_reconnect_backoff_ms': 100, 'grpc.max_reconnect_backoff_ms': 1000 };
      return new AdminApi(new AdminServiceClient(address, credentials, backoff));
    } catch (error) {
      throw new EvercertError('FileSystem', `cannot use the admin credential in ${adminDir}`, { cause: error });
    }
  }

  /** Any unary method: `admin.call(admin.client.listEvents, request)`. */
  call<Request, Response>(method: UnaryMethod<Request, Response>, request: Request, deadlineMs = callMs): Promise<Response> {
    return unary(method.bind(this.client), request, { deadlineMs });
  }

  async serving(): Promise<boolean> {
    return await this.call(this.client.getServerInfo, {}, 2000).then(
      () => true,
      () => false,
    );
  }

  async createCluster(name: string, spec: ClusterSpec): Promise<void> {
    await this.call(this.client.createCluster, { name, spec }, slowCallMs);
  }

  /** Has the agents ask etcd for its health, at its client port on each node's address. */
  async declareEtcdHealth(cluster: string, port: number): Promise<void> {
    const healthCheck = { url: `https://{{ node.address }}:${port}/health`, clientCertificate: 'etcd-healthcheck-client' };
    await this.changeCertificate(cluster, 'etcd-server', { healthCheck });
  }

  /** Applies a CertificateManifest of the cluster with other fields in its spec. */
  async changeCertificate(cluster: string, name: string, changes: Record<string, unknown>): Promise<void> {
    const { manifests } = await this.call(this.client.listManifests, { cluster, kind: 'CertificateManifest', name });
    const document = parse(manifests[0]?.yaml ?? '{}') as { spec?: Record<string, unknown> };
    await this.apply(cluster, `${name}.yaml`, stringify({ ...document, spec: { ...document.spec, ...changes } }));
  }

  /** `evercert apply -f`. */
  async apply(cluster: string, source: string, yaml: string): Promise<void> {
    await this.call(this.client.apply, { cluster, documents: [{ source, yaml }], dryRun: false });
  }

  /** Repairs the control plane, or the named nodes; the messages as they come. */
  async repair(cluster: string, nodes: string[] = [], onMessage: (message: RepairResponse) => void = () => {}): Promise<RepairOutcome[]> {
    const stream = this.client.repair({ cluster, nodes, dryRun: false, window: undefined });
    let outcomes: RepairOutcome[] = [];
    try {
      for await (const message of stream as AsyncIterable<RepairResponse>) {
        onMessage(message);
        if (message.event?.$case === 'summary') outcomes = message.event.value.outcomes;
      }
      return outcomes;
    } catch (error) {
      throw fromServiceError(error);
    }
  }

  /** A token for one node, used once; it registers the node's addresses and labels. */
  createToken(
    cluster: string,
    node: { name: string; role: Role; addresses: string[]; labels?: Record<string, string> },
  ): Promise<CreateTokenResponse> {
    return this.call(this.client.createToken, {
      cluster,
      role: node.role,
      nodeName: node.name,
      lifetime: { seconds: 3600, nanos: 0 },
      maxUses: 1,
      description: `local cluster, ${node.name}`,
      labels: node.labels ?? {},
      addresses: node.addresses,
      dnsNames: [],
      kubernetes: false,
      kubernetesGroups: [],
    });
  }

  async listNodes(cluster: string): Promise<Node[]> {
    return (await this.call(this.client.listNodes, { cluster, name: '' })).nodes;
  }

  /** All events of a cluster, newest first. */
  async listEvents(cluster: string, filter: { node?: string; certificate?: string; reason?: string } = {}): Promise<Event[]> {
    const { node = '', certificate = '', reason = '' } = filter;
    const events: Event[] = [];
    let pageToken = '';
    for (let page = 0; page < maxPages; page++) {
      const request = { cluster, node, certificate, reason, pageSize: 1000, pageToken, renewalLog: false };
      const answer = await this.call(this.client.listEvents, request);
      events.push(...answer.events);
      pageToken = answer.nextPageToken;
      if (pageToken === '') break;
    }
    return events;
  }

  close(): void {
    this.client.close();
  }
}
