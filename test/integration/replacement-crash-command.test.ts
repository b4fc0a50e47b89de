import { describeReplacementCrashes } from '../support/replacement-crashes.ts';

// Where it matters most; `npm run test:replacement` does them all.
describeReplacementCrashes([
  'cordon-begun',
  'drain-acted',
  'remove-begun',
  'remove-withdrawn',
  'remove-acted',
  'allocate-done',
  'create-begun',
  'create-acted',
  'join-begun',
  'verify-acted',
  'discard-acted',
  'uncordon-acted',
]);
