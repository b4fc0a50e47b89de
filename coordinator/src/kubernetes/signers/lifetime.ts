/** The API server's own minimum. */
const leastSeconds = 600;
/** Of the life: kubelet reckons its renewal from notBefore, and a backdate that is long beside the life would have it renew at once. */
const backdateShare = 1 / 12;

/** What was asked for, between ten minutes and the cluster's life of leaves; nothing asked: that life. */
export function lifetimeMs(expirationSeconds: number | undefined, leafLifetimeSeconds: number): number {
  const asked = expirationSeconds === undefined ? leafLifetimeSeconds : Math.max(leastSeconds, expirationSeconds);
  return Math.min(asked, leafLifetimeSeconds) * 1000;
}

export function backdateMs(configuredMs: number, lifeMs: number): number {
  return Math.min(configuredMs, Math.floor(lifeMs * backdateShare));
}
