export { Connection, type ConnectionOptions, type ConnectionSnapshot } from './connection.ts';
export { desiredStateFromProto, eventToProto, type Report, reportToProto } from './convert.ts';
export { readDesiredCache, writeDesiredCache } from './desired-cache.ts';
export { createEnrollmentApi } from './enrollment.ts';
export { createRecoveryApi } from './recovery.ts';
export { type Outlet, Reporter } from './reporter.ts';
