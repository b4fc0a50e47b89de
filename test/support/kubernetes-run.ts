/** `npm run test:kubernetes`, which has the time that continuous integration has not: everything, in longer lives. */
export const isFullRun = process.env['EVERCERT_KUBERNETES'] === 'full';
