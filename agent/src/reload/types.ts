import type { ReloadSpec } from '@evercert/shared/manifest';

/** What is known of why a component is told to read its files again. */
export interface ReloadRequest {
  signal?: AbortSignal;
  /** What is left of the certificate in use until then; absent: no certificate hangs on it. */
  lifeLeftMs?: number;
  /** `tls://HOST:PORT` of the component, where the manifest says it. */
  verify?: string;
}

/** Errors: ReloadFailed; Cancelled when the agent stops or the signal aborts. */
export type Reloader = (spec: ReloadSpec, request?: ReloadRequest) => Promise<void>;

/** A component seen from outside. */
export interface ComponentWatch {
  /** The component that ran when the watch began is gone. */
  ended(): Promise<boolean>;
  /** A component runs, another than the one before where that can be told, and answers. */
  serving(): Promise<boolean>;
}

/** Name of what is reloaded, for the lease and for people: as the manifest says, or from what is reloaded. */
export function componentOf(spec: ReloadSpec): string {
  if (spec.component !== undefined) return spec.component;
  switch (spec.type) {
    case 'static-pod':
      return named(lastPart(spec.manifestPath).replace(/\.(?:ya?ml|json|manifest)$/, ''));
    case 'systemd':
      return named(spec.unit.replace(/\.[a-z]+$/, ''));
    case 'signal':
      return named(lastPart(spec.pidPath).replace(/\.pid$/, ''));
    case 'command':
      return named(lastPart(spec.argv[0] ?? ''));
  }
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** As the coordinator takes names of components. */
function named(text: string): string {
  const name = text
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, '-')
    .slice(0, 63)
    .replace(/^[.-]+|[.-]+$/g, '');
  return name || 'component';
}
