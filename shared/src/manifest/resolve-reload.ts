import { parseHostPort } from '../config/index.ts';
import { type Scope, shown } from './scope.ts';
import type { ReloadSpec } from './types.ts';

/** A reload with the templates of its paths and addresses resolved. A command's words are left alone: other programs have braces of their own. */
export function resolveReload(scope: Scope, reload: ReloadSpec): ReloadSpec {
  if (reload.type === 'signal') return { ...reload, pidPath: scope.reference(['spec', 'reload', 'signal', 'pidFile'], reload.pidPath) };
  return reload.type === 'static-pod' ? resolveStaticPod(scope, reload) : reload;
}

function resolveStaticPod<R extends Extract<ReloadSpec, { type: 'static-pod' }>>(scope: Scope, reload: R): R {
  const path = ['spec', 'reload', 'staticPod'];
  const manifestPath = scope.reference([...path, 'manifest'], reload.manifestPath);
  // kubelet takes files without a dot in front for manifests.
  if (/\/\.[^/]*$/.test(manifestPath))
    scope.refuse([...path, 'manifest'], `kubelet does not look at hidden files, found "${manifestPath}"`);
  if (reload.watch === undefined) return { ...reload, manifestPath };
  const watch = reload.watch.startsWith('/')
    ? scope.reference([...path, 'watch'], reload.watch)
    : watchUrl(scope, [...path, 'watch'], reload.watch);
  return { ...reload, manifestPath, watch };
}

function watchUrl(scope: Scope, path: string[], template: string): string {
  const before = scope.findings.length;
  const url = scope.text(path, template, { url: true });
  if (scope.findings.length > before) return url;
  const [, scheme, target] = /^(tls|https?):\/\/([^/\s?#]+)(?:\/[^\s]*)?$/.exec(url) ?? [];
  const port = target === undefined ? undefined : parseHostPort(target)?.port;
  const usable = scheme === 'tls' ? port !== undefined && port !== 0 && !url.slice('tls://'.length).includes('/') : target !== undefined;
  if (!usable)
    scope.refuse(path, `expected the absolute path of a pid file, tls://HOST:PORT or an http(s) URL, found ${shown(template, url)}`);
  return url;
}
