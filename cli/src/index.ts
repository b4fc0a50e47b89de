/** The command line as a library: for tests, and for programs that talk to the admin API with a context's credentials. */
export { type AdminApi, type ConnectOptions, connectAdmin, type RequestOf, type ResponseOf } from './client.ts';
export { type Validation, validateSources } from './commands/validate.ts';
export type { Environment, ExitCode } from './environment.ts';
export { exitCodeOf, renderError } from './errors.ts';
export { createProgram, runProgram } from './program.ts';
