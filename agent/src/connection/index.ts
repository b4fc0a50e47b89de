export { type AskOptions, firstThatAnswers } from './ask.ts';
export { Connection, type ConnectionOptions, type ConnectionSnapshot } from './connection.ts';
export { desiredStateFromProto, eventToProto, type Report, reportToProto } from './convert.ts';
export { readDesiredCache, writeDesiredCache } from './desired-cache.ts';
export { Endpoints, type EndpointsOptions } from './endpoints.ts';
export { createEnrollmentApi } from './enrollment.ts';
export { createRecoveryApi } from './recovery.ts';
export { type Outlet, Reporter } from './reporter.ts';
