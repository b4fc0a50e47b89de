import { EvercertError } from '@evercert/shared/errors';

/** Kubernetes' objects have at most 1.5 MiB in etcd; as JSON somewhat more. */
const maxLineBytes = 8 * 1024 * 1024;

/** One JSON value from each line. Unavailable: a line that is none, or too long. */
export async function* jsonLines(chunks: AsyncIterable<Uint8Array>): AsyncIterable<unknown> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const piece of chunks) {
    const chunk = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...parts, chunk.subarray(from, end)]).toString();
      parts = [];
      size = 0;
      from = end + 1;
      if (line.trim() !== '') yield parseLine(line);
    }
    const rest = chunk.subarray(from);
    size += rest.length;
    if (size > maxLineBytes) throw new EvercertError('Unavailable', `the API server sends a line of more than ${maxLineBytes} bytes`);
    if (rest.length > 0) parts.push(rest);
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new EvercertError('Unavailable', 'the API server sends what is no JSON in a watch', { cause: error });
  }
}
