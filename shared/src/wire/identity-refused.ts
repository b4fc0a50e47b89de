/** `metadata.reason` of an Unauthenticated answer to a node whose certificate opens no mTLS: it has ended by the coordinator's clock, or is by a control CA that is over. Recovery helps. */
export const identityNotValid = 'IdentityNotValid';
