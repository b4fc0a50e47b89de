export { type ProcessResult, runProcess } from './process.ts';
export { createReloader, type Reloader } from './reloader.ts';
export { shareReloads } from './shared.ts';
