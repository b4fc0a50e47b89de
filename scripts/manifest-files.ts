import { type ComponentRunner, componentRunners, manifestSet, withComponents } from '@evercert/coordinator/manifest-sets';
import { type LayoutName, layouts, toYaml } from '@evercert/shared/manifest';

const runs: Record<ComponentRunner, string> = {
  'static-pods': 'run as static pods, as kubeadm sets them up',
  systemd: 'are services of systemd named etcd.service and kube-apiserver.service',
};

/** One file for each layout and each way of running components. */
export function componentManifests(): { name: string; text: string }[] {
  return layouts.flatMap((layout) =>
    componentRunners.map((runner) => ({ name: `${layout}-${runner}.yaml`, text: fileOf(layout, runner) })),
  );
}

function fileOf(layout: LayoutName, runner: ComponentRunner): string {
  const header = [
    `# For clusters in the ${layout} layout whose control-plane components ${runs[runner]}:`,
    '# how each is made to take up what was renewed where it does not by itself, and how it is checked. What is not here stays as the cluster has it.',
    `#   evercert apply --cluster NAME -f ${layout}-${runner}.yaml`,
    '# Ports and units are the usual ones: change them here where yours differ. Written by `npm run generate:manifests`.',
  ];
  return `${header.join('\n')}\n${withComponents(manifestSet(layout), runner)
    .map((manifest) => `---\n${toYaml(manifest)}`)
    .join('')}`;
}
