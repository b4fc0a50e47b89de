/** What kubeadm expects in /etc/kubernetes of a control-plane node (`kubeadm certs check-expiration`, cmd/kubeadm/app/phases/certs/certlist.go). */
import type { Inventory } from './types.ts';

const pki = [
  'ca.crt',
  'apiserver.crt',
  'apiserver-kubelet-client.crt',
  'apiserver-etcd-client.crt',
  'front-proxy-ca.crt',
  'front-proxy-client.crt',
  'etcd/ca.crt',
  'etcd/server.crt',
  'etcd/peer.crt',
  'etcd/healthcheck-client.crt',
];
const kubeconfigs = ['admin.conf', 'controller-manager.conf', 'scheduler.conf'];

/** Those of its files that are not there; none for any folder that is not one of kubeadm's control-plane nodes. */
export function absentOf({ certificates }: Pick<Inventory, 'certificates'>): string[] {
  const paths = new Set(certificates.map(({ path }) => path));
  const expected = paths.has('pki/apiserver.crt')
    ? [...pki.map((name) => `pki/${name}`), ...kubeconfigs]
    : paths.has('apiserver.crt')
      ? pki
      : [];
  return expected.filter((path) => !paths.has(path));
}
