import type { EvercertError } from './errors/index.ts';

/**
 * The body of a request or an answer as text.
 *
 * @param tooLong what is thrown once it is longer than `maxBytes`; no more of it is read then.
 */
export async function readText(message: AsyncIterable<Uint8Array>, maxBytes: number, tooLong: () => EvercertError): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of message) {
    size += chunk.byteLength;
    // Leaving the loop destroys the stream.
    if (size > maxBytes) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
