/** Length beyond which nothing is compared: the distance costs the product of both lengths. */
const maxLength = 64;

/** The known word nearest to `word` by edit distance (case ignored), or undefined when none is near enough to be what was meant. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > maxLength) return undefined;
  let best: { word: string; distance: number } | undefined;
  for (const candidate of known) {
    if (candidate.length > maxLength) continue;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if ((distance <= tolerance(word, candidate) || isBeginning(word, candidate)) && (best === undefined || distance < best.distance))
      best = { word: candidate, distance };
  }
  return best?.word;
}

/** `; did you mean "WORD"?`, or nothing. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const suggestion = nearest(word, known);
  return suggestion === undefined ? '' : `; did you mean "${suggestion}"?`;
}

function tolerance(word: string, candidate: string): number {
  const longest = Math.max(word.length, candidate.length);
  return longest <= 3 ? 1 : Math.max(2, Math.floor(longest / 3));
}

/** One word goes on where the other ends, as in `lifetimeSeconds` for `lifetime`. */
function isBeginning(a: string, b: string): boolean {
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  return short.length >= 4 && long.toLowerCase().startsWith(short.toLowerCase());
}

/** Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours each count one. */
function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let distance = Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) distance = Math.min(distance, beforePrevious[j - 2]! + 1);
      current.push(distance);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length]!;
}
