import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { run } from './tools.ts';

/** The two key identifiers of a certificate: OBJECT IDENTIFIER, then the extension's value up to the 20 bytes themselves. */
const keyIdentifiers = ['0603551d0e04160414', '0603551d23041830168014'].map((hex) => Buffer.from(hex, 'hex'));

/**
 * Fails unless dumpasn1 reads the DER without a warning. It guesses whether bytes hold more ASN.1, and one key identifier in a thousand (a hash, so any bytes)
 * looks as if it did and then does not fit: key identifiers are shown to it as zeros. `file` is written.
 */
export async function assertCleanDer(dumpasn1: string, der: Buffer, file: string): Promise<void> {
  const shown = Buffer.from(der);
  for (const mark of keyIdentifiers) {
    const at = shown.indexOf(mark);
    if (at >= 0) shown.fill(0, at + mark.length, at + mark.length + 20);
  }
  writeFileSync(file, shown);
  const { stdout, stderr } = await run(dumpasn1, ['-a', file]);
  assert.match(stderr + stdout, /0 warnings, 0 errors/, `${file}\n${stdout}`);
  assert.doesNotMatch(stdout, /(Error|Warning):/);
}
