import { foldGroup, isDnsSuffix } from '@evercert/shared/revocation';
import type { RevocationEntryRecord, RevocationRecord } from '../state/records.ts';
import type { Subject } from './subject.ts';
import type { RevocationMatch } from './types.ts';

/** An entry as it is kept in the index. */
export interface Rule extends RevocationMatch {
  updatedAtMs: number;
}

type Table = 'serial' | 'group' | 'name' | 'suffix' | 'address';

/**
 * The entries of one cluster by what they match. A question costs one look-up for each of the certificate's own values (for each label of a name), however many entries there
 * are: the rules of one value are kept with the farthest reaching first.
 */
export class RuleIndex {
  readonly #tables: Record<Table, Map<string, Rule[]>> = {
    serial: new Map(),
    group: new Map(),
    name: new Map(),
    suffix: new Map(),
    address: new Map(),
  };
  #size = 0;

  /** Entries in the index. */
  get size(): number {
    return this.#size;
  }

  add(record: RevocationRecord): void {
    for (const [entry, spec] of record.entries.entries()) {
      const rule = ruleOf(record, entry, spec);
      for (const [table, key] of keysOf(spec)) insert(this.#tables[table], key, rule);
    }
    this.#size += record.entries.length;
  }

  remove(record: RevocationRecord): void {
    for (const [table, key] of new Map(record.entries.flatMap(keysOf).map((place) => [place.join(' '), place])).values()) {
      const left = this.#tables[table].get(key)?.filter(({ object }) => object !== record.name) ?? [];
      if (left.length > 0) this.#tables[table].set(key, left);
      else this.#tables[table].delete(key);
    }
    this.#size -= record.entries.length;
  }

  /** The rule that reaches farthest of those that match: first one without notBefore, then the latest notBefore. */
  strongest(subject: Subject, issuedAtMs: number): Rule | undefined {
    let best: Rule | undefined;
    this.#visit(subject, ([first]) => {
      if (first && reaches(first, issuedAtMs) && (!best || compareRules(first, best) < 0)) best = first;
    });
    return best;
  }

  /** Every rule that matches, the farthest reaching first. */
  all(subject: Subject, issuedAtMs: number): Rule[] {
    const found = new Set<Rule>();
    this.#visit(subject, (rules) => {
      for (const rule of rules) {
        if (!reaches(rule, issuedAtMs)) break;
        found.add(rule);
      }
    });
    return [...found].sort(compareRules);
  }

  #visit({ serial, groups, names, addresses }: Subject, visit: (rules: readonly Rule[]) => void): void {
    const tables = this.#tables;
    const look = (table: Table, key: string): void => {
      const rules = tables[table].get(key);
      if (rules) visit(rules);
    };
    if (serial !== undefined) look('serial', serial);
    for (const group of groups) look('group', group);
    for (const address of addresses) look('address', address);
    for (const name of names) {
      look('name', name);
      if (tables.suffix.size === 0) continue;
      for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) look('suffix', name.slice(dot + 1));
    }
  }
}

function ruleOf({ name, updatedAtMs }: RevocationRecord, entry: number, spec: RevocationEntryRecord): Rule {
  const { kind, value, notBeforeMs, description, reason, addedAtMs } = spec;
  const base = { object: name, entry, kind, value, description, reason, addedAtMs, updatedAtMs };
  return notBeforeMs === undefined ? base : { ...base, notBeforeMs };
}

function keysOf({ kind, value, successorSerials }: RevocationEntryRecord): [Table, string][] {
  switch (kind) {
    case 'SerialNumber':
      return [...new Set([value, ...successorSerials])].map((serial) => ['serial', serial]);
    case 'Group':
      return [['group', foldGroup(value)]];
    case 'DNS':
      return [isDnsSuffix(value) ? ['suffix', value.slice(1)] : ['name', value]];
    case 'IP':
      return [['address', value]];
  }
}

function insert(table: Map<string, Rule[]>, key: string, rule: Rule): void {
  const rules = table.get(key);
  if (!rules) {
    table.set(key, [rule]);
    return;
  }
  let low = 0;
  for (let high = rules.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (compareRules(rules[middle] as Rule, rule) <= 0) low = middle + 1;
    else high = middle;
  }
  rules.splice(low, 0, rule);
}

/** Recorded issue time, never the backdated one. */
function reaches({ notBeforeMs }: Rule, issuedAtMs: number): boolean {
  return notBeforeMs === undefined || issuedAtMs < notBeforeMs;
}

/** The farthest reaching first, then the newest object, then the entries' order. */
export function compareRules(a: Rule, b: Rule): number {
  const [reachA, reachB] = [a.notBeforeMs ?? Number.POSITIVE_INFINITY, b.notBeforeMs ?? Number.POSITIVE_INFINITY];
  if (reachA !== reachB) return reachA > reachB ? -1 : 1;
  return b.updatedAtMs - a.updatedAtMs || (a.object < b.object ? -1 : a.object > b.object ? 1 : a.entry - b.entry);
}
