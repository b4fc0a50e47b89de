/** Asks a health endpoint once, as etcd's `/health` is asked. */
import { request } from 'node:https';
import type { Clock } from '@evercert/shared/clock';
import { certificatesToPem, privateKeyToPem } from '@evercert/shared/x509';
import type { InstalledPair } from '../files/types.ts';

export interface ProbeAnswer {
  state: 'Healthy' | 'Unhealthy' | 'Unreachable';
  /** For a person; empty when all is well. */
  message: string;
}

export interface ProbeQuestion {
  url: string;
  /** DER of the CAs that may have signed the server's certificate. */
  trustAnchors: Buffer[];
  /** The client's own certificate. */
  pair: InstalledPair;
}

/** Never throws. */
export type Probe = (question: ProbeQuestion) => Promise<ProbeAnswer>;

const answerMs = 3000;
const maxBytes = 4096;

export function createProbe({ clock }: { clock: Clock }): Probe {
  return async (question) => {
    try {
      return await ask(question, clock);
    } catch (error) {
      // A URL that is none, or not of https; anchors or a pair that TLS does not take: all of it came from afar.
      return { state: 'Unreachable', message: error instanceof Error ? error.message : String(error) };
    }
  };
}

function ask({ url, trustAnchors, pair }: ProbeQuestion, clock: Clock): Promise<ProbeAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        // Each look is a handshake of its own: it is the certificates that are looked at.
        agent: false,
        ca: trustAnchors.map((der) => certificatesToPem([der])),
        cert: certificatesToPem(pair.chain),
        key: privateKeyToPem(pair.privateKey),
      },
      (response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => {
          body += chunk.toString();
          if (body.length > maxBytes) outgoing.destroy(new Error(`it answers with more than ${maxBytes} bytes`));
        });
        response.on('error', reject);
        response.on('end', () => resolve(judge(response.statusCode ?? 0, body)));
      },
    );
    const timer = clock.after(answerMs, () => outgoing.destroy(new Error(`no answer within ${answerMs} ms`)));
    outgoing.on('error', reject);
    outgoing.on('close', () => timer.cancel());
    outgoing.end();
  });
}

/** etcd says 200 and `{"health":"true"}` only while it knows a leader. Source: https://etcd.io/docs/v3.4/op-guide/monitoring/#health-check */
export function judge(statusCode: number, body: string): ProbeAnswer {
  if (statusCode !== 200) return { state: 'Unhealthy', message: `it answers with status ${statusCode}` };
  try {
    const { health, reason } = JSON.parse(body) as { health?: unknown; reason?: unknown };
    if (health === 'true' || health === true) return { state: 'Healthy', message: '' };
    return {
      state: 'Unhealthy',
      message: typeof reason === 'string' && reason !== '' ? reason.slice(0, 200) : 'it says that it is not well',
    };
  } catch {
    // Not etcd's words: whoever answers 200 and nothing more is taken for well.
    return { state: 'Healthy', message: '' };
  }
}
