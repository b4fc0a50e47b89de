import { type NodeProvisioner, openProvisioners, provisionersSchema } from '@evercert/coordinator/provisioning';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { describeProvisionerContract, type ProvisionerFixture } from '../contract/provisioner.ts';
import { ClusterApi, coordinatorKubeconfig, namespace, prepareClusterApi } from '../support/cluster-api.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { PausableProxy } from '../support/pausable-proxy.ts';

describe('Machines of Cluster API', () => {
  let kubernetes: TestKubernetes | undefined;
  let prepared: { stop(): void } | undefined;
  let count = 0;

  before(async function () {
    kubernetes = await startKubernetes(needKubernetes(this));
    prepared = await prepareClusterApi(kubernetes);
  });

  after(async () => {
    prepared?.stop();
    await kubernetes?.stop();
  });

  async function open(): Promise<ProvisionerFixture> {
    if (kubernetes === undefined) throw new Error('there is no API server');
    count += 1;
    const proxy = await PausableProxy.open(kubernetes.server);
    const kubeconfig = await coordinatorKubeconfig(kubernetes, proxy.url);
    const api = new ClusterApi(kubernetes, `contract-${count}`);
    const capi = { type: 'cluster-api', kubeconfig, namespace, clusterName: api.clusterName };
    const configs = provisionersSchema.parse({ capi });
    const opened: { close(): Promise<void> }[] = [];
    await api.start(1);
    return {
      open: async () => {
        const provisioners = await openProvisioners(configs, { clock: systemClock, logger: silentLogger, stateDir: '/nowhere' });
        opened.push(provisioners);
        return provisioners.get('capi') as NodeProvisioner;
      },
      machines: async () =>
        (await api.machines()).map(({ metadata, status }) => ({ name: status?.nodeRef?.name ?? metadata.name, id: metadata.uid })),
      seed: async ({ name }) => void (await api.adopt(name)),
      stall: async () => proxy.pause(),
      replenished: true,
      cleanup: async () => {
        await Promise.all(opened.map((each) => each.close()));
        proxy.close();
        await api.stop();
      },
    };
  }

  describeProvisionerContract('cluster-api', open);
});
