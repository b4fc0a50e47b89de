/** Who gets a certificate without a person, who is refused, and who waits: plain data in, a verdict out. */
import { type ApprovalRule, approvingRule } from './own-approval.ts';
import { isNodeItself, nodeOf, nodeUserPrefix, violationOf } from './rules.ts';
import { type KnownNames, namesFault } from './serving-names.ts';
import type { RequestedCertificate, Requester, Signer } from './types.ts';

export type Verdict =
  | { verdict: 'Approve'; message: string }
  | { verdict: 'Deny'; reason: string; message: string }
  /** It stays as it is: for a person, or for another time. */
  | { verdict: 'Leave'; message: string; againAfterMs?: number };

/** Subresources of certificatesigningrequests whose creation the requester must be allowed, by a SubjectAccessReview. */
export type NodePermission = 'selfnodeclient' | 'nodeclient';

export interface ApprovalQuestion {
  signer: Signer;
  request: RequestedCertificate;
  requester: Requester;
  /** Of `permissionsFor`, the first that the requester has; undefined: none. */
  permission: NodePermission | undefined;
  /** For kubelet-serving. */
  known: KnownNames | undefined;
  /** Since the request was first seen. */
  ageMs: number;
  /** Of this signer, where it is one of Evercert's own. */
  rules: readonly ApprovalRule[];
}

/** A kubelet asks as soon as it knows its addresses, which may be a moment before its Node object tells them. */
const namesMayComeMs = 30_000;
const lookAgainMs = 2000;
/** Roles are granted later, too. */
const askAgainMs = 60_000;

/** What is to be asked of the API server before `judge`, in this order; empty: nothing. */
export function permissionsFor({
  signer,
  request,
  requester,
}: Pick<ApprovalQuestion, 'signer' | 'request' | 'requester'>): NodePermission[] {
  if (signer.kind !== 'client-kubelet' || violationOf(signer, request) !== undefined) return [];
  return requester.username === request.commonName ? ['selfnodeclient', 'nodeclient'] : ['nodeclient'];
}

/** For a request that nobody has approved or denied. */
export function judge(question: ApprovalQuestion): Verdict {
  const { signer } = question;
  const violation = violationOf(signer, question.request);
  if (signer.kind === 'client-kubelet') return judgeClientKubelet(question, violation);
  if (signer.kind === 'kubelet-serving') return judgeServing(question, violation);
  if (signer.kind === 'own') return judgeOwn(question, violation);
  return leave(violation ?? "client certificates are approved by a person: 'kubectl certificate approve'");
}

/** As kube-controller-manager's approver: what it does not recognize is not its business, and stays. */
function judgeClientKubelet({ permission, requester }: ApprovalQuestion, violation: string | undefined): Verdict {
  if (violation !== undefined) return leave(violation);
  if (permission === undefined)
    return leave(
      `user "${requester.username}" may not create certificatesigningrequests/nodeclient, nor selfnodeclient for itself: a person approves, or grants that`,
      askAgainMs,
    );
  return { verdict: 'Approve', message: `by Evercert, after a SubjectAccessReview for certificatesigningrequests/${permission}` };
}

/** Kubernetes leaves these to "an approving controller", with rules of its own: here, a node speaks for itself, and for what is known of it. */
function judgeServing({ request, requester, known, ageMs }: ApprovalQuestion, violation: string | undefined): Verdict {
  if (violation !== undefined) return deny('InvalidRequest', violation);
  const node = nodeOf(request);
  if (node === undefined || !isNodeItself(requester, node))
    return deny(
      'NotTheNode',
      `only the node itself gets its serving certificate without a person: expected a request of ${nodeUserPrefix}${node ?? 'NODE'}, found one of "${requester.username}"`,
    );
  if (known === undefined) return leave('nothing is known of the node', lookAgainMs);
  const fault = namesFault(request, known);
  if (fault === undefined) return { verdict: 'Approve', message: `by Evercert, for node ${node} and what is known of it` };
  if (fault.later && ageMs < namesMayComeMs) return leave(fault.message, lookAgainMs);
  return deny('NamesNotKnown', fault.message);
}

function judgeOwn({ signer, request, requester, rules }: ApprovalQuestion, violation: string | undefined): Verdict {
  if (violation !== undefined) return deny('InvalidRequest', violation);
  const rule = approvingRule(rules, request, requester);
  if (rule !== undefined) return { verdict: 'Approve', message: `by Evercert, by rule ${rule + 1} for ${signer.ca}` };
  return leave("no rule approves it: a person does, by 'kubectl certificate approve'");
}

function deny(reason: string, message: string): Verdict {
  return { verdict: 'Deny', reason, message };
}

function leave(message: string, againAfterMs?: number): Verdict {
  return { verdict: 'Leave', message, ...(againAfterMs === undefined ? {} : { againAfterMs }) };
}
