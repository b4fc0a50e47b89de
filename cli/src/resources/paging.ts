import { EvercertError } from '@evercert/shared/errors';

interface Page<T> {
  items: T[];
  nextPageToken: string;
}

/** A server that hands out more pages than this answers something else than it was asked. */
const maxPages = 1000;

/** All pages together, or the first `limit` items. */
export async function allPages<T>(fetch: (pageToken: string) => Promise<Page<T>>, limit = Number.POSITIVE_INFINITY): Promise<T[]> {
  const items: T[] = [];
  let token = '';
  for (let page = 0; page < maxPages; page++) {
    const answer = await fetch(token);
    items.push(...answer.items);
    if (answer.nextPageToken === '' || items.length >= limit) return items.slice(0, limit);
    token = answer.nextPageToken;
  }
  throw new EvercertError('Internal', `the server sent more than ${maxPages} pages: narrow the list with --cluster or --node`);
}
