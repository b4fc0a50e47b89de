/** The real kubectl, as `$KUBECTL` names it or as it is in PATH. */
import { findTool, needTool, type RunResult, run } from './tools.ts';

/** To its end, whatever it says. */
export type Kubectl = (args: readonly string[], input?: string) => Promise<RunResult>;

/** For `before`: the suite is skipped with one line where there is none. */
export function needKubectl(context: Mocha.Context): (kubeconfig: string) => Kubectl {
  const binary = process.env['KUBECTL'] ?? needTool(context, 'kubectl', findTool);
  // It caches what the server can do in the home folder, by host and port: tests use ports again.
  return (kubeconfig) => (args, input) =>
    run(binary, [`--kubeconfig=${kubeconfig}`, `--cache-dir=${kubeconfig}.cache`, ...args], input === undefined ? {} : { input });
}
