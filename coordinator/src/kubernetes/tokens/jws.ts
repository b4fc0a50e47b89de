import { createHmac } from 'node:crypto';

/**
 * The detached signature (RFC 7515 appendix F, HS256) by which a holder of a bootstrap token knows that `payload` comes from somebody who knows the token, too. The key is the token's
 * secret alone, without its id: so kubeadm and kube-controller-manager do it, whatever the documentation says.
 */
export function detachedJws({ id, secret }: { id: string; secret: string }, payload: string): string {
  const header = encode(JSON.stringify({ alg: 'HS256', kid: id }));
  const signature = createHmac('sha256', secret)
    .update(`${header}.${encode(payload)}`)
    .digest('base64url');
  return `${header}..${signature}`;
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64url');
}
