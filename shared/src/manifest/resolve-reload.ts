import type { Scope } from './scope.ts';
import type { ReloadSpec } from './types.ts';

/** A reload with the templates of its path resolved. A command's words are left alone: other programs have braces of their own. */
export function resolveReload(scope: Scope, reload: ReloadSpec): ReloadSpec {
  if (reload.type !== 'signal') return reload;
  return { ...reload, pidPath: scope.reference(['spec', 'reload', 'signal', 'pidFile'], reload.pidPath) };
}
