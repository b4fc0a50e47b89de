/**
 * Judges what a run has left: `node test/ha/check-history.ts FOLDER`. Prints a verdict as JSON; exit code 1 when there is a fault. It reads files alone, and shares no code with coordinators and
 * agents.
 */
import { checkHistory } from './history/check.ts';
import { readHistory } from './history/read.ts';

const mostShown = 50;

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  process.stderr.write('usage: check-history.ts FOLDER\n');
  process.exitCode = 2;
} else {
  const { faults, ...verdict } = checkHistory(readHistory(folder));
  process.stdout.write(`${JSON.stringify({ ...verdict, faultCount: faults.length, faults: faults.slice(0, mostShown) })}\n`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}
