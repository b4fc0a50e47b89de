export {
  type ClientCredentials,
  createClientCredentials,
  createHotSwapServerCredentials,
  fetchServerChain,
  type HotSwapCredentials,
  type ServerIdentity,
} from './credentials.ts';
export { createFileCredentials, type FileCredentialsOptions, type PairFiles } from './file-credentials.ts';
export { fromServiceError, toServiceError } from './status.ts';
export { fetchTrustAnchors } from './trust-anchors.ts';
export { type UnaryMethod, type UnaryOptions, unary } from './unary.ts';
