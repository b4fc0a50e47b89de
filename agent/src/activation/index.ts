export { Activator, type ActivatorOptions } from './activator.ts';
export { createVerifier, type Look, parseVerifyUrl, type Verifier } from './verify.ts';
export { answers, type WatchOptions, watchComponent } from './watch.ts';
