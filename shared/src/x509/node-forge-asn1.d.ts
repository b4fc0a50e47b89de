/** node-forge's DER module alone: the whole library costs 30 ms more at every start. Its published types lack the options. */
declare module 'node-forge/lib/asn1.js' {
  import type { asn1 } from 'node-forge';

  interface FromDerOptions {
    strict: boolean;
    parseAllBytes: boolean;
    decodeBitStrings: boolean;
    maxDepth: number;
  }
  const module: Omit<typeof asn1, 'fromDer'> & { fromDer(bytes: string, options: FromDerOptions): asn1.Asn1 };
  export default module;
}
