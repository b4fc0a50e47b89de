import type { ImportClusterRequest, ImportClusterResponse } from '@evercert/proto';
import type { ClusterImports } from '../clusters/import.ts';
import { actorOf } from './callers.ts';
import { authorityToProto, clusterToProto, givenPolicy } from './convert.ts';
import type { CallContext } from './guard.ts';

export async function importCluster(
  { spec, serviceAccountKeyPem, ...order }: ImportClusterRequest,
  context: CallContext,
  imports: ClusterImports,
): Promise<ImportClusterResponse> {
  const result = await imports.import({ ...order, given: givenPolicy(spec), serviceAccountKeyPem }, actorOf(context.caller));
  return {
    cluster: clusterToProto(result.cluster, undefined),
    certificateAuthorities: result.authorities.map((authority) => authorityToProto(authority)),
    findings: result.findings,
  };
}
