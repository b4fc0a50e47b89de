export { ClockMark, resetClockMark } from './clock-mark.ts';
export { Nonces } from './nonces.ts';
export { Recovery } from './recovery.ts';
export { Refusals } from './refusals.ts';
