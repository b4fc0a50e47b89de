/** A group (an O of the subject) as it is shown: without outer space, inner space as one blank. */
export function canonicalGroup(text: string): string {
  return text.normalize('NFKC').trim().replace(/\s+/gu, ' ');
}

/** What two groups are compared by: RFC 5280 section 7.1 compares attribute values without case and without insignificant space. */
export function foldGroup(text: string): string {
  // Upper first: letters with several lower forms (final sigma, sharp s) come together.
  return canonicalGroup(text).toUpperCase().toLowerCase();
}
