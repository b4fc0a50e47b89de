import { currentGeneration, firstGeneration, liveGenerations } from '../ca/generations.ts';
import type { AuthorityGeneration, AuthorityRecord } from '../state/records.ts';

/** One CRL that a CA keeps. */
export interface ListSlot {
  cluster: string;
  issuer: string;
  /** Under which it is kept in the store. */
  name: string;
  /** Whose key signs it. */
  generation: AuthorityGeneration;
  /** Serials of the generations whose certificates it lists. */
  covers: ReadonlySet<string>;
}

/** No CA's name has this sign. */
const separator = '@';
const forFiles = 'files';

/** The first generation's list has the CA's own name: as it was before there were several, and as certificates of that time name it. */
export function listName(authority: AuthorityRecord, serial: string): string {
  return serial === firstGeneration(authority).serial ? authority.name : `${authority.name}${separator}${serial}`;
}

/** The list that is put into files on nodes. With one generation it is that one's. */
export function fileListName(authority: AuthorityRecord, nowMs: number): string {
  return liveGenerations(authority, nowMs).length > 1 ? filesName(authority) : listName(authority, authority.serial);
}

/**
 * The lists of a CA now: one of each generation that has certificates in use, with what that one issued. While there are several, one more for files, by the current key, which
 * lists the revoked certificates of all: programs that read only the first list of a file, as etcd does, compare serial numbers alone, and those are unique here.
 */
export function listSlots(authority: AuthorityRecord, nowMs: number): ListSlot[] {
  const { cluster, name: issuer } = authority;
  const live = liveGenerations(authority, nowMs);
  const slots = live.map((generation): ListSlot => {
    const { serial } = generation;
    return { cluster, issuer, name: listName(authority, serial), generation, covers: new Set([serial]) };
  });
  if (live.length < 2) return slots;
  const covers = new Set(live.map(({ serial }) => serial));
  return [...slots, { cluster, issuer, name: filesName(authority), generation: currentGeneration(authority), covers }];
}

/** When the next generation's last certificate ends, after `nowMs`; infinite: none waits for that. */
export function nextEndMs({ earlier = [] }: AuthorityRecord, nowMs: number): number {
  const ends = earlier.map(({ lastLeafNotAfterMs }) => lastLeafNotAfterMs).filter((end) => end > nowMs);
  return Math.min(Number.POSITIVE_INFINITY, ...ends);
}

function filesName({ name }: AuthorityRecord): string {
  return `${name}${separator}${forFiles}`;
}
