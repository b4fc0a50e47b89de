import { canonicalAddress, inRanges } from './names.ts';

export interface AddressQuestion {
  node: string;
  /** What the node says that it has. */
  claimed: readonly string[];
  /** What an admin registered for it. */
  registered: readonly string[];
  /** The cluster's `nodeAddressRanges`. */
  ranges: readonly string[];
  /** Who holds an address now. */
  holder: (address: string) => string | undefined;
}

export interface AddressAnswer {
  /** Beyond the registered ones, in the order in which the node told them. */
  accepted: string[];
  refused: { address: string; why: string }[];
}

/** A node tells of no more addresses than this. */
export const maxClaimed = 32;

/** Invariant 5: an address may stand in a node's certificates only if an admin registered it, or if it lies in an allowed range and no other node holds it. */
export function decideAddresses(question: AddressQuestion): AddressAnswer {
  const answer: AddressAnswer = { accepted: [], refused: [] };
  const registered = new Set(question.registered);
  for (const text of new Set(question.claimed.slice(0, maxClaimed))) {
    const verdict = judge(text, question);
    if (typeof verdict === 'object') answer.refused.push({ address: text.slice(0, 80), why: verdict.why });
    else if (!registered.has(verdict) && !answer.accepted.includes(verdict)) answer.accepted.push(verdict);
  }
  return answer;
}

function judge(text: string, { node, registered, ranges, holder }: AddressQuestion): string | { why: string } {
  let address: string;
  try {
    address = canonicalAddress(text);
  } catch {
    return { why: 'it is not an address' };
  }
  if (registered.includes(address)) return address;
  if (!inRanges(address, ranges)) return { why: "no admin registered it, and it lies in none of the cluster's nodeAddressRanges" };
  const owner = holder(address);
  return owner !== undefined && owner !== node ? { why: `node ${owner} holds it` } : address;
}
