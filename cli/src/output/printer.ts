import type { Resource } from '../resources/types.ts';
import { listOf, renderObject } from './objects.ts';
import { type Row, renderTable, TableWriter } from './table.ts';

export const outputFormats = ['wide', 'json', 'yaml', 'name'] as const;
export type OutputFormat = (typeof outputFormats)[number] | 'table';

export interface PrintOptions {
  format: OutputFormat;
  noHeaders: boolean;
  /** Several clusters may be among the items. */
  clusters: boolean;
  superseded: boolean;
  /** A column that says what happened, for watches. */
  watchEvents: boolean;
}

export type WatchEventName = 'ADDED' | 'MODIFIED' | 'DELETED';

/** Prints the items of one resource in the asked format: all together, then one at a time for a watch. */
export class Printer<T> {
  readonly #resource: Resource<T>;
  readonly #options: PrintOptions;
  #table: TableWriter | undefined;

  constructor(resource: Resource<T>, options: PrintOptions) {
    this.#resource = resource;
    this.#options = options;
  }

  /** `single`: one object was asked for by name, and is not wrapped into a List. */
  all(items: readonly T[], nowMs: number, single: boolean): string {
    const { format, noHeaders } = this.#options;
    if (format === 'name') return items.map((item) => `${this.#nameOf(item)}\n`).join('');
    if (format === 'json' || format === 'yaml') {
      const objects = items.map((item) => this.#resource.object(item));
      return renderObject(single && objects.length === 1 ? objects[0] : listOf(objects), format);
    }
    return renderTable(
      this.#headers(),
      items.map((item) => this.#row(item, nowMs, 'ADDED')),
      { noHeaders },
    );
  }

  /** The first lines of a watch; later lines keep their widths. */
  start(items: readonly T[], nowMs: number): string {
    if (!this.#isTable()) return items.map((item) => this.one(item, nowMs, 'ADDED')).join('');
    const rows = items.map((item) => this.#row(item, nowMs, 'ADDED'));
    this.#table = new TableWriter(this.#headers(), rows, this.#least());
    return [...(this.#options.noHeaders ? [] : [this.#headers()]), ...rows].map((row) => `${this.#table!.line(row)}\n`).join('');
  }

  /** One item of a watch, after `start`. */
  one(item: T, nowMs: number, what: WatchEventName): string {
    const { format, watchEvents } = this.#options;
    if (format === 'name') return `${this.#nameOf(item)}\n`;
    if (format === 'json' || format === 'yaml') {
      const object = this.#resource.object(item);
      return `${format === 'yaml' ? '---\n' : ''}${renderObject(watchEvents ? { type: what, object } : object, format)}`;
    }
    return `${this.#table!.line(this.#row(item, nowMs, what))}\n`;
  }

  #isTable(): boolean {
    return this.#options.format === 'table' || this.#options.format === 'wide';
  }

  #nameOf(item: T): string {
    return `${this.#resource.object(item).kind.toLowerCase()}/${this.#resource.name(item)}`;
  }

  #columns(): Resource<T>['columns'] {
    const { format, clusters, superseded } = this.#options;
    const shown = { wide: format === 'wide', clusters, superseded };
    return this.#resource.columns.filter((column) => column.show === undefined || shown[column.show]);
  }

  #least(): number[] {
    const widths = this.#columns().map(({ watchWidth = 0 }) => watchWidth);
    return this.#options.watchEvents ? [0, ...widths] : widths;
  }

  #headers(): Row {
    const headers = this.#columns().map((column) => column.header);
    return this.#options.watchEvents ? ['EVENT', ...headers] : headers;
  }

  #row(item: T, nowMs: number, what: WatchEventName): Row {
    const cells = this.#columns().map((column) => column.value(item, nowMs));
    return this.#options.watchEvents ? [what, ...cells] : cells;
  }
}
