import { EvercertError, type Fault } from '@evercert/shared/errors';
import { type ClusterFacts, type Manifest, resolveNode, validateSet } from '@evercert/shared/manifest';
import { parseCertificate } from '@evercert/shared/x509';
import type { Authorities } from '../ca/authorities.ts';
import { manifestSet } from '../manifest-sets/index.ts';
import { checkClusterName } from '../nodes/names.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { AuthorityRecord, ClusterRecord, KeyPairRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import { alreadyExists, type Clusters, checkPolicy } from './clusters.ts';
import { checkAuthorities, checkServiceAccountKey } from './import-authorities.ts';
import { comparePlaced, readPlaced } from './import-certificates.ts';
import { inferPolicy, nodeOf, type PlacedNode } from './import-policy.ts';
import { type CheckedAuthority, type ImportFinding, type ImportOrder, type PlacedCertificate, sorted } from './import-types.ts';
import type { KeyPairs } from './key-pairs.ts';

export interface ClusterImportsOptions {
  store: Store;
  model: Model;
  authorities: Authorities;
  keyPairs: KeyPairs;
  clusters: Clusters;
  nowMs: () => number;
  /** Base of the URLs in certificates; undefined: none are served. */
  webUrl: string | undefined;
}

export interface ImportResult {
  cluster: ClusterRecord;
  authorities: AuthorityRecord[];
  /** Worst first. */
  findings: ImportFinding[];
}

const bounds = { authorities: 16, certificates: 200 };
/** The shipped name of Kubernetes' service-account key pair. */
const serviceAccounts = 'sa';

/** Takes clusters over that exist: their CAs and service-account key as they are, and their nodes' certificates when the agents join. */
export class ClusterImports {
  readonly #options: ClusterImportsOptions;

  constructor(options: ClusterImportsOptions) {
    this.#options = options;
  }

  /**
   * All or nothing; `dryRun` tells what was found and changes nothing, however bad it is.
   * Errors: InvalidArgument (findings of severity Error, each a fault), AlreadyExists, InvalidManifest (the policy, or the layout's manifests do not fit it).
   */
  async import(order: ImportOrder, actor: string): Promise<ImportResult> {
    const { name } = order;
    checkClusterName(name);
    if (this.#options.model.cluster(name)) throw alreadyExists(name);
    checkBounds(order);
    const plan = this.#plan(order);
    if (order.dryRun) {
      const shown = await Promise.all(
        plan.checked.map((each) => this.#options.authorities.import(name, each.name, each.certificates, undefined)),
      );
      return { cluster: plan.cluster, authorities: shown.map((record, at) => marked(record, plan.checked[at]!)), findings: plan.findings };
    }
    const faults = plan.findings
      .filter(({ severity }) => severity === 'Error')
      .map(({ path, message }): Fault => ({ field: path, message }));
    if (faults.length > 0) {
      const count = faults.length === 1 ? 'one error' : `${faults.length} errors`;
      throw new EvercertError('InvalidArgument', `cluster ${name} was not imported, ${count} in what was given; nothing was changed`, {
        faults,
      });
    }
    return this.#carryOut(plan, actor);
  }

  #plan({ name, given, authorities, serviceAccountKeyPem, certificates, nodeName, nodeAddresses }: ImportOrder): Plan {
    const { model, clusters, nowMs } = this.#options;
    const others = model.authorities.list().map((record) => ({
      cluster: record.cluster,
      name: record.name,
      spkiSha256: parseCertificate(Buffer.from(record.certificate, 'base64')).spkiSha256,
    }));
    const { checked, findings: ofAuthorities } = checkAuthorities({ authorities, nowMs: nowMs(), others });
    const { key, findings: ofKey } = checkServiceAccountKey(serviceAccountKeyPem);
    const { placed, findings: ofFiles } = readPlaced(certificates);
    const node = nodeOf(placed, { name: nodeName, addresses: [...nodeAddresses] });
    const { policy, findings: ofPolicy } = inferPolicy(given, checked, placed, node);
    checkPolicy(name, policy);
    const manifests = manifestSet(policy.layout).filter((manifest) => isServed(manifest, checked, key !== undefined));
    const facts: ClusterFacts = { name, policy, ...(this.#options.webUrl !== undefined && { webUrl: this.#options.webUrl }) };
    const faults = validateSet(facts, manifests);
    if (faults.length > 0)
      throw new EvercertError('InvalidManifest', `the ${policy.layout} layout does not fit this cluster's policy`, { faults });
    const ofCertificates = compare({ facts, node, manifests, placed, checked, nowMs: nowMs() });
    return {
      cluster: clusters.newRecord(name, policy),
      checked,
      serviceAccountKey: key,
      manifests,
      findings: sorted([...ofAuthorities, ...ofKey, ...ofFiles, ...ofPolicy, ...ofCertificates]),
    };
  }

  async #carryOut({ cluster, checked, serviceAccountKey, manifests, findings }: Plan, actor: string): Promise<ImportResult> {
    const { authorities, keyPairs, clusters } = this.#options;
    const { name } = cluster;
    const cas: AuthorityRecord[] = [];
    const pairs: KeyPairRecord[] = [];
    try {
      // Keys first: a record without its key could not be helped, a key without a record is in no use.
      for (const each of checked) cas.push(await authorities.import(name, each.name, each.certificates, each.privateKey));
      if (serviceAccountKey) pairs.push(await keyPairs.import(name, serviceAccounts, serviceAccountKey));
      const held = cas.map((ca) => (ca.keyId === '' ? `${ca.name} (watched only)` : ca.name));
      const message = `imported cluster ${name} (${cluster.policy.layout} layout): ${[...held, ...pairs.map((pair) => pair.name)].join(', ')}`;
      await clusters.write({ cluster, cas, pairs, manifests }, { actor, reason: 'ClusterImported', message });
    } catch (error) {
      if (!(await this.#mayBeWritten(cluster))) await authorities.destroyKeys([...cas, ...pairs].map(({ keyId }) => keyId));
      throw error;
    }
    return { cluster, authorities: cas, findings };
  }

  /** A transaction that failed may have been carried out all the same: then its keys must stay. */
  async #mayBeWritten({ name, uid }: ClusterRecord): Promise<boolean> {
    try {
      const entry = await this.#options.store.get(layout.cluster(name));
      return entry !== undefined && Buffer.from(entry.value).toString().includes(uid);
    } catch {
      // Not known: a key that nothing refers to does no harm, a missing one does.
      return true;
    }
  }
}

interface Plan {
  cluster: ClusterRecord;
  checked: CheckedAuthority[];
  serviceAccountKey: ReturnType<typeof checkServiceAccountKey>['key'];
  manifests: Manifest[];
  findings: ImportFinding[];
}

function checkBounds({ authorities, certificates, nodeAddresses }: ImportOrder): void {
  if (authorities.length > bounds.authorities || certificates.length > bounds.certificates || nodeAddresses.length > bounds.certificates) {
    throw new EvercertError(
      'InvalidArgument',
      `expected at most ${bounds.authorities} CAs, ${bounds.certificates} certificates and ${bounds.certificates} addresses in one import`,
    );
  }
}

/** A shared key pair that is not given must not be made anew: it would replace the nodes' own, and with it every token of the cluster. */
function isServed(manifest: Manifest, checked: readonly CheckedAuthority[], serviceAccountKey: boolean): boolean {
  if (manifest.kind === 'KeyPairManifest') return serviceAccountKey && manifest.metadata.name === serviceAccounts;
  return checked.some(({ name }) => name === manifest.spec.issuer);
}

interface Comparison {
  facts: ClusterFacts;
  node: PlacedNode;
  manifests: readonly Manifest[];
  placed: readonly PlacedCertificate[];
  checked: readonly CheckedAuthority[];
  nowMs: number;
}

function compare({ facts, node, manifests, placed, checked, nowMs }: Comparison): ImportFinding[] {
  if (placed.length === 0) return [];
  const note = (message: string): ImportFinding[] => [{ severity: 'Info', path: '', certificate: '', kind: 'Policy', message }];
  if (node.name === '' || node.addresses.length === 0)
    return note('the certificates are not compared: name the node that they are from, and its addresses');
  try {
    const { certificates } = resolveNode(facts, { ...node, role: 'control-plane', labels: {}, dnsNames: [] }, manifests);
    return [
      ...note(`the certificates are compared as those of node ${node.name} with ${node.addresses.join(', ')}`),
      ...comparePlaced(certificates, placed, checked, nowMs),
    ];
  } catch (error) {
    if (!(error instanceof EvercertError)) throw error;
    return note(`the certificates are not compared: ${error.message}`);
  }
}

/** For a dry run: as it would be with its key, which is not taken. */
function marked(record: AuthorityRecord, { privateKey }: CheckedAuthority): AuthorityRecord {
  return privateKey === undefined ? record : { ...record, keyId: 'dry-run' };
}
