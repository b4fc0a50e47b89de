import type { Decision, ReplacementQuestion } from './types.ts';

/** Who is replaced now, who is held back, and why (invariant 13). Pure. */
export function decide(question: ReplacementQuestion): Decision {
  throw new Error(`not decided yet: ${question.cluster}`);
}
