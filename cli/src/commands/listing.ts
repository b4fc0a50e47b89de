import { ChangeType } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { News } from '../output/news.ts';
import { Printer, type PrintOptions, type WatchEventName } from '../output/printer.ts';
import { parsePath, sortByPath } from '../output/sort.ts';
import { type LabelRequirement, type Resource, requireAll, type Selection, select, sorted } from '../resources/index.ts';
import type { CommandContext, Session } from './session.ts';

export interface Listing<T> {
  resource: Resource<T>;
  selection: Selection;
  labels: readonly LabelRequirement[];
  print: PrintOptions;
  sortBy?: string | undefined;
}

/** What is there and selected, in the order in which it is shown. NotFound for a name that nothing answers to. */
export async function fetchSelected<T>(session: Session, { resource, selection, labels, sortBy }: Omit<Listing<T>, 'print'>): Promise<T[]> {
  const path = sortBy === undefined ? undefined : parsePath(sortBy);
  const keep = select(resource, selection, labels);
  const found = sorted(resource, (await resource.list(session.api, selection)).filter(keep));
  requireAll(resource, found, selection.names, session.api.server);
  return path ? sortByPath(found, (item) => resource.object(item), path) : found;
}

/** One listing, as `kubectl get`. */
export async function showListing<T>({ environment }: CommandContext, session: Session, listing: Listing<T>): Promise<void> {
  const { resource, selection, print } = listing;
  const items = await fetchSelected(session, listing);
  if (items.length === 0 && print.format !== 'json' && print.format !== 'yaml') {
    line(environment.err, `No resources found${selection.cluster === '' ? '' : ` in cluster ${selection.cluster}`}.`);
    return;
  }
  environment.out(new Printer(resource, print).all(items, environment.clock.nowMs(), selection.names.length === 1));
}

const changeNames: Partial<Record<ChangeType, WatchEventName>> = {
  [ChangeType.ADDED]: 'ADDED',
  [ChangeType.MODIFIED]: 'MODIFIED',
  [ChangeType.DELETED]: 'DELETED',
};

/** The listing, then a line for each change until the caller is stopped. Unavailable when the server ends the stream. */
export async function watchListing<T>({ environment }: CommandContext, session: Session, listing: Listing<T>): Promise<void> {
  const { resource, selection, labels, sortBy, print } = listing;
  if (!resource.watch) throw usageError(`${resource.plural} cannot be watched: leave out --watch`);
  if (sortBy !== undefined) throw usageError('--sort-by and --watch exclude each other: changes are shown as they come');
  const { api } = session;
  const keep = select(resource, selection, labels);
  const printer = new Printer(resource, print);
  const show = (item: T, what: WatchEventName): void => environment.out(printer.one(item, environment.clock.nowMs(), what));
  const news = new News<T>(environment.clock, (item) => show(item, 'MODIFIED'));
  const keyOf = (item: T): string => `${resource.cluster(item)}/${resource.name(item)}`;
  const isNews = (item: T): boolean => {
    if (!resource.shown || !['table', 'wide'].includes(print.format) || print.watchEvents) return true;
    return news.take(keyOf(item), item, resource.shown(item, print.format === 'wide'));
  };
  const { beside } = resource.watch;
  const notes = beside?.start();
  const resources = [resource.watch.resource, ...(beside ? [beside.resource] : [])];
  let initial: T[] | undefined = [];
  try {
    for await (const response of api.watch({ cluster: selection.cluster, resources })) {
      if (response.type === ChangeType.SYNCED && initial) {
        const found = sorted(resource, initial);
        for (const item of found) isNews(item);
        requireAll(resource, found, selection.names, api.server);
        environment.out(printer.start(selection.limit > 0 ? found.slice(-selection.limit) : found, environment.clock.nowMs()));
        initial = undefined;
        continue;
      }
      for (const item of notes?.note(response) ?? []) if (!initial && keep(item) && isNews(item)) show(item, 'MODIFIED');
      const taken = resource.watch.take(response);
      const item = taken && notes ? notes.complete(taken) : taken;
      const what = changeNames[response.type];
      if (item === undefined || what === undefined || !keep(item)) continue;
      if (initial) initial.push(item);
      else if (what === 'DELETED') {
        news.forget(keyOf(item));
        show(item, what);
      } else if (isNews(item)) show(item, what);
    }
  } finally {
    news.end();
  }
  throw new EvercertError('Unavailable', 'the server ended the watch: start it again', { metadata: { server: api.server } });
}
