/**
 * The shipped manifests with what makes components take up what was renewed, for the two ways in which control planes usually run. Which component reads which file by itself is known
 * (docs/kubernetes.md, "Who reads what again"); only the rest is told, and only what a cluster cannot do without goes one node at a time.
 */
import type { CertificateManifest, Manifest, ReloadSpec, TrustBundleManifest } from '@evercert/shared/manifest';

export const componentRunners = ['static-pods', 'systemd'] as const;
/** How the control plane's components run; kubelet is a service of systemd's in both. */
export type ComponentRunner = (typeof componentRunners)[number];

const node = '{{ node.address }}';
const kubelet: ReloadSpec = { type: 'systemd', unit: 'kubelet.service', action: 'try-restart' };

/** Where each tells whether it is well, as kubeadm sets them up. */
const health: Record<string, string> = {
  'kube-apiserver': `https://${node}:6443/readyz`,
  etcd: 'http://127.0.0.1:2381/health',
};

function restart(runner: ComponentRunner, component: string): ReloadSpec {
  if (runner === 'systemd') return { type: 'systemd', unit: `${component}.service`, action: 'try-restart', oneAtATime: true };
  const manifestPath = `/etc/kubernetes/manifests/${component}.yaml`;
  const watch = health[component];
  return { type: 'static-pod', manifestPath, method: 'move', ...(watch !== undefined && { watch }), timeoutSeconds: 300, oneAtATime: true };
}

/** The manifests of a set that are to say more, with what they say then; what is not among the results stays as it is. */
export function withComponents(manifests: readonly Manifest[], runner: ComponentRunner): Manifest[] {
  return manifests.flatMap((manifest): Manifest[] => {
    if (manifest.kind === 'CertificateManifest') return certificate(manifest);
    if (manifest.kind === 'TrustBundleManifest') return bundle(manifest, manifests, runner);
    if (manifest.kind !== 'KeyPairManifest') return [];
    return [{ ...manifest, spec: { ...manifest.spec, reload: restart(runner, 'kube-apiserver') } }];
  });
}

/** kube-apiserver and etcd read their pairs by themselves; controller-manager, scheduler and the clients of kube-apiserver do where they refer to files, as they do here. */
function certificate(manifest: CertificateManifest): CertificateManifest[] {
  const changes: Record<string, Partial<CertificateManifest['spec']>> = {
    apiserver: { verify: `tls://${node}:6443` },
    'etcd-server': {
      verify: `tls://${node}:2379`,
      healthCheck: { url: `https://${node}:2379/health`, clientCertificate: 'etcd-healthcheck-client' },
    },
    'etcd-peer': { verify: `tls://${node}:2380` },
    'kubelet-client': { reload: kubelet },
    'kubelet-serving': { reload: kubelet, verify: `tls://${node}:10250` },
  };
  const change = changes[manifest.metadata.name];
  return change === undefined ? [] : [{ ...manifest, spec: { ...manifest.spec, ...change } }];
}

function bundle(manifest: TrustBundleManifest, all: readonly Manifest[], runner: ComponentRunner): TrustBundleManifest[] {
  const changed = (spec: Partial<TrustBundleManifest['spec']>, name = manifest.metadata.name): TrustBundleManifest => ({
    ...manifest,
    metadata: { ...manifest.metadata, name },
    spec: { ...manifest.spec, ...spec },
  });
  switch (manifest.metadata.name) {
    case 'cluster-ca':
      return [
        changed({ selector: { role: 'control-plane' }, ...clusterCaReload(all, runner), verify: `tls://${node}:6443` }),
        changed({ selector: { role: 'worker' }, reload: kubelet, verify: `tls://${node}:10250` }, 'cluster-ca-workers'),
      ];
    case 'etcd-ca':
      return [changed({ reload: restart(runner, 'etcd'), verify: `tls://${node}:2379` })];
    case 'front-proxy-ca':
      return [changed({ verify: `tls://${node}:6443` })];
    default:
      return [];
  }
}

/** kube-apiserver reads the CA of its clients by itself, but that of etcd at its start alone; the founding layout has both in one file. */
function clusterCaReload(all: readonly Manifest[], runner: ComponentRunner): { reload?: ReloadSpec } {
  const etcdServer = all.find(({ kind, metadata }) => kind === 'CertificateManifest' && metadata.name === 'etcd-server');
  const trusted = etcdServer?.spec && 'issuer' in etcdServer.spec && etcdServer.spec.issuer === 'cluster-ca';
  return trusted ? { reload: restart(runner, 'kube-apiserver') } : { reload: kubelet };
}
