import { describeReplacementCrashes } from '../support/replacement-crashes.ts';

// Where it matters most; `npm run test:replacement` does them all.
describeReplacementCrashes(['remove-withdrawn', 'remove-acted', 'create-acted', 'discard-acted']);
