import { describeReplacementCrashes } from '../support/replacement-crashes.ts';

const steps = ['cordon', 'drain', 'remove', 'allocate', 'create', 'join', 'verify', 'discard', 'uncordon'];

describeReplacementCrashes([...steps.flatMap((step) => ['begun', 'acted', 'done'].map((when) => `${step}-${when}`)), 'remove-withdrawn']);
