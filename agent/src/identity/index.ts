export { ControlTrust, type ControlTrustOptions } from './control-trust.ts';
export { ControlPins } from './pins.ts';
export { type Identity, IdentityStore, identityFaultPoints, type NewIdentity } from './store.ts';
export { type IdentitySnapshot, IdentitySupervisor, type SupervisorOptions } from './supervisor.ts';
export { readToken, type Token, type TokenReading } from './token.ts';
