import assert from 'node:assert/strict';
import { provisionersSchema } from '@evercert/coordinator/provisioning';

const capi = (more: object): { fleet: object } => ({ fleet: { type: 'cluster-api', namespace: 'capi-clusters', ...more } });

describe('the configuration of the cluster-api provisioner', () => {
  it('needs a namespace alone, and drains as Cluster API does', () => {
    const { fleet } = provisionersSchema.parse(capi({}));
    assert.ok(fleet?.type === 'cluster-api');
    assert.deepEqual(fleet.drain, { deleteEmptyDirData: true, ignoreDaemonSets: true, force: true, skipWaitAfter: 30_000 });
    assert.deepEqual(fleet.bootstrap.start, ['systemctl', 'enable', '--now', 'evercert-agent']);
    assert.equal(fleet.apiVersion, 'v1beta1');
    assert.ok(fleet.removeTimeout < 5 * 60_000, 'its own message comes before the saga breaks the call off');
  });

  const faults: Record<string, object> = {
    'a kubeconfig that is no absolute path': { kubeconfig: 'admin.conf' },
    'a namespace that is none': { namespace: 'Capi_Clusters' },
    'a version that is not known': { apiVersion: 'v1alpha3' },
    'a key that is not known': { drain: { gracePeriodSeconds: 30 } },
    'a duration without a unit': { removeTimeout: 60 },
    'no command to start the agent with': { bootstrap: { start: [] } },
  };
  for (const [what, more] of Object.entries(faults)) {
    it(`refuses ${what}`, () => assert.equal(provisionersSchema.safeParse(capi(more)).success, false));
  }
});
