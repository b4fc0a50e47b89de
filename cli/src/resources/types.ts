import type { WatchResponse } from '@evercert/proto';
import type { AdminApi } from '../client.ts';
import type { Description } from '../output/description.ts';
import type { RowState } from '../output/news.ts';
import type { KubernetesObject } from '../output/objects.ts';

export interface Column<T> {
  header: string;
  /** Absent: always. `wide`: with -o wide. `clusters`: when several clusters may be listed. `superseded`: with --all. */
  show?: 'wide' | 'clusters' | 'superseded';
  /** Width of what a watch may come to show there, so that its lines stay in columns. */
  watchWidth?: number;
  value(item: T, nowMs: number): string;
}

/** What is asked for. */
export interface Selection {
  /** Empty: all clusters. */
  cluster: string;
  /** Empty: all. */
  names: readonly string[];
  node: string;
  /** Certificates that a newer one has succeeded, too. */
  superseded: boolean;
  certificate: string;
  reason: string;
  /** Newest events only; 0: the default. */
  limit: number;
}

/** Everything that the commands know of one kind: `get`, `describe`, watches and all output formats work from this alone. */
export interface Resource<T> {
  kind: string;
  singular: string;
  plural: string;
  shortNames: readonly string[];
  columns: readonly Column<T>[];
  /** Unique within a cluster; what `get`, `describe` and `delete` take. */
  name(item: T): string;
  cluster(item: T): string;
  /** What a name looks like where it is not plain; told when there is none of a name. */
  nameForm?: string;
  /** `item` answers to this name. Absent: `name(item)` alone. */
  answersTo?(item: T, name: string): boolean;
  labels?(item: T): Readonly<Record<string, string>>;
  /** Nodes that it belongs to, for `--node`. Absent: `--node` does not apply. */
  nodes?(item: T): readonly string[];
  /** Belongs to the selection, beyond cluster, names, node and labels. */
  selects?(item: T, selection: Selection): boolean;
  /** Absent: by cluster, then name. */
  compare?(a: T, b: T): number;
  /** May return more than is selected: the caller filters. */
  list(api: AdminApi, selection: Selection): Promise<T[]>;
  /** Absent: the coordinator's Watch does not send it. */
  watch?: Watched<T>;
  /** What a table shows of it, but for what time alone changes: a watch has no line for an item in which nothing of this has changed. Absent: each change has one. */
  shown?(item: T, wide: boolean): RowState;
  object(item: T): KubernetesObject;
  describe?(item: T, context: DescribeContext): Promise<Description>;
}

export interface Watched<T> {
  resource: string;
  take(response: WatchResponse): T | undefined;
  /** What else tells of the items, sent before them: each watch has a state of its own. */
  beside?: { resource: string; start(): { note(response: WatchResponse): T[]; complete(item: T): T } };
}

export interface DescribeContext {
  api: AdminApi;
  nowMs: number;
}

export const everything: Selection = { cluster: '', names: [], node: '', superseded: false, certificate: '', reason: '', limit: 0 };
