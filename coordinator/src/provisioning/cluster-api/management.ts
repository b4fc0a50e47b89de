import { EvercertError } from '@evercert/shared/errors';
import { type KubernetesApi, unlessMissing } from '../../kubernetes/core/index.ts';
import type { ClusterApiProvisionerConfig } from './config.ts';
import {
  annotationOf,
  type BootstrapSpec,
  bootstrapGroup,
  bootstrapKinds,
  bootstrapVersion,
  type ClusterObject,
  clusterNameLabel,
  controllerOf,
  controlPlaneLabel,
  type Machine,
  type MachineSet,
  nodeNameAnnotation,
  pausedAnnotation,
} from './objects.ts';

/** The Machines of one namespace, or of one Cluster in it. */
export class ManagementCluster {
  readonly api: KubernetesApi;
  readonly apiVersion: string;
  readonly #namespace: string;
  readonly #base: string;
  readonly #clusterName: string | undefined;

  constructor(api: KubernetesApi, { namespace, clusterName, apiVersion }: ClusterApiProvisionerConfig) {
    this.api = api;
    this.apiVersion = `cluster.x-k8s.io/${apiVersion}`;
    this.#namespace = namespace;
    this.#base = `/apis/${this.apiVersion}/namespaces/${namespace}`;
    this.#clusterName = clusterName;
  }

  machines(): Promise<Machine[]> {
    return this.#list('machines');
  }

  machineSets(): Promise<MachineSet[]> {
    return this.#list('machinesets');
  }

  machine(name: string): Promise<Machine | undefined> {
    return unlessMissing(this.api.send<Machine>({ method: 'GET', path: this.#path('machines', name) }));
  }

  machineSet(name: string): Promise<MachineSet | undefined> {
    return unlessMissing(this.api.send<MachineSet>({ method: 'GET', path: this.#path('machinesets', name) }));
  }

  /** Conflict: somebody else has changed the object since it was read. */
  patchMachine({ metadata }: Machine, change: { annotations?: Record<string, string>; spec?: object }): Promise<Machine> {
    const { annotations, spec } = change;
    return this.api.send({
      method: 'PATCH',
      path: this.#path('machines', metadata.name),
      body: {
        metadata: { resourceVersion: metadata.resourceVersion, ...(annotations === undefined ? {} : { annotations }) },
        ...(spec === undefined ? {} : { spec }),
      },
    });
  }

  /**
   * Tells Cluster API which Secret holds the Machine's bootstrap data: by the status of its EvercertConfig, from where Cluster API takes it; or in the Machine itself where it names no
   * configuration. Conflict: as above.
   */
  async offerBootstrapData(machine: Machine, dataSecretName: string): Promise<void> {
    const { configRef, dataSecretName: present } = machine.spec.bootstrap ?? {};
    if (configRef?.name === undefined) {
      if (present !== dataSecretName) await this.patchMachine(machine, { spec: { bootstrap: { dataSecretName } } });
      return;
    }
    const path = `/apis/${bootstrapGroup}/${bootstrapVersion}/namespaces/${this.#namespace}/evercertconfigs/${encodeURIComponent(configRef.name)}/status`;
    // Both contracts at once, v1beta1's and v1beta2's.
    const status = { ready: true, initialization: { dataSecretCreated: true }, dataSecretName };
    await this.api.send({ method: 'PATCH', path, body: { status } });
  }

  /** null takes an annotation away. Conflict: as above. */
  annotateMachineSet({ metadata }: MachineSet, annotations: Record<string, string | null>): Promise<MachineSet> {
    const { name, resourceVersion } = metadata;
    return this.api.send({ method: 'PATCH', path: this.#path('machinesets', name), body: { metadata: { resourceVersion, annotations } } });
  }

  /** That very Machine, never a later one of the same name. What is gone already is no error. */
  async deleteMachine(name: string, uid: string): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid } };
    try {
      await unlessMissing(this.api.send({ method: 'DELETE', path: this.#path('machines', name), body }));
    } catch (error) {
      const now = error instanceof EvercertError && error.code === 'Conflict' ? await this.machine(name) : undefined;
      if (now === undefined || now.metadata.uid === uid) throw error;
    }
  }

  /**
   * The node's Machine: by our own annotation, else by the Node that it became, else by its name. FailedPrecondition: several are called so.
   */
  async machineOf(node: string): Promise<Machine | undefined> {
    const machines = await this.machines();
    const ways: ((machine: Machine) => boolean)[] = [
      (machine) => annotationOf(machine, nodeNameAnnotation) === node,
      (machine) => annotationOf(machine, nodeNameAnnotation) === undefined && machine.status?.nodeRef?.name === node,
      ({ metadata, status }) => metadata.name === node && status?.nodeRef?.name === undefined,
    ];
    for (const way of ways) {
      const found = machines.filter(way);
      if (found.length > 1)
        throw new EvercertError(
          'FailedPrecondition',
          `${found.length} Machines of namespace ${this.#namespace} are node ${node} (${found.map(({ metadata }) => metadata.name).join(', ')}): name the Cluster with \`clusterName\``,
        );
      if (found[0] !== undefined) return found[0];
    }
    return undefined;
  }

  /**
   * The MachineSet that will make another Machine when this one is deleted. FailedPrecondition: nobody would, or its machine could not be given what it needs to join, or it is none that
   * may be removed: a person must look before anything is touched.
   */
  async successorsOf(machine: Machine): Promise<MachineSet> {
    const { name, labels = {} } = machine.metadata;
    if (Object.hasOwn(labels, controlPlaneLabel))
      throw new EvercertError(
        'FailedPrecondition',
        `Machine ${name} is of the control plane: it is never removed; repair its node instead`,
      );
    const owner = controllerOf(machine, 'MachineSet');
    const set = owner === undefined ? undefined : await this.machineSet(owner.name);
    if (set === undefined || set.metadata.uid !== owner?.uid)
      throw new EvercertError('FailedPrecondition', `Machine ${name} belongs to no MachineSet: nobody would make another in its place`);
    const setName = set.metadata.name;
    if ((set.spec.replicas ?? 1) < 1 || set.metadata.deletionTimestamp !== undefined)
      throw new EvercertError(
        'FailedPrecondition',
        `MachineSet ${setName} is being scaled down: it would make no Machine in place of ${name}`,
      );
    assertOurBootstrap(`MachineSet ${setName}`, set.spec.template?.spec?.bootstrap);
    await this.#assertNotPaused(machine, set);
    return set;
  }

  async #assertNotPaused(machine: Machine, set: MachineSet): Promise<void> {
    const { clusterName } = machine.spec;
    const cluster = await unlessMissing(this.api.send<ClusterObject>({ method: 'GET', path: this.#path('clusters', clusterName) }));
    const paused =
      annotationOf(machine, pausedAnnotation) !== undefined
        ? `Machine ${machine.metadata.name}`
        : annotationOf(set, pausedAnnotation) !== undefined
          ? `MachineSet ${set.metadata.name}`
          : cluster?.spec?.paused
            ? `Cluster ${clusterName}`
            : undefined;
    if (paused === undefined) return;
    throw new EvercertError('FailedPrecondition', `${paused} is paused: Cluster API would neither delete nor make a Machine; resume it`);
  }

  #list<T>(resource: string): Promise<T[]> {
    const query: Record<string, string> =
      this.#clusterName === undefined ? {} : { labelSelector: `${clusterNameLabel}=${this.#clusterName}` };
    return this.api.list(`${this.#base}/${resource}`, query);
  }

  #path(resource: string, name: string): string {
    return `${this.#base}/${resource}/${encodeURIComponent(name)}`;
  }
}

/** FailedPrecondition where another bootstrap provider writes the machine's data: it knows no join token, and there is no waiting for it. */
export function assertOurBootstrap(what: string, bootstrap: BootstrapSpec | undefined): void {
  const { apiVersion = '', apiGroup = apiVersion.split('/')[0], kind, name } = bootstrap?.configRef ?? {};
  if (kind === undefined && name === undefined) return;
  if (apiGroup === bootstrapGroup && bootstrapKinds.includes(kind ?? '')) return;
  throw new EvercertError(
    'FailedPrecondition',
    `${what} has its bootstrap data from ${kind ?? 'a configuration'} ${name ?? ''}, which would give the new machine no token to join with: ` +
      'name an EvercertConfigTemplate as `bootstrap.configRef` in its template (deploy/kubernetes/evercert-bootstrap.yaml)',
  );
}
