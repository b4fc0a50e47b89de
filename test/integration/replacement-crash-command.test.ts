import { describeReplacementCrashes } from '../support/replacement-crashes.ts';

// Where it matters most; `npm run test:replacement` does them all.
describeReplacementCrashes([
  'cordon-begun',
  'remove-withdrawn',
  'remove-acted',
  'create-begun',
  'create-acted',
  'discard-acted',
  'uncordon-acted',
]);
