/** OCSP by pkijs, which knows nothing of our own reader and writer. */
import { verify, X509Certificate } from 'node:crypto';
import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';

const hashes = { 'SHA-1': '1.3.14.3.2.26', 'SHA-256': '2.16.840.1.101.3.4.2.1' } as const;
const nonceType = '1.3.6.1.5.5.7.48.1.2';

const certificateOf = (der: Buffer): pkijs.Certificate => pkijs.Certificate.fromBER(new Uint8Array(der));

/** DER of a request about one serial (hex) of a CA. */
export async function ocspRequest(
  ca: Buffer,
  serial: string,
  { nonce, hash = 'SHA-1' }: { nonce?: Buffer; hash?: keyof typeof hashes } = {},
): Promise<Buffer> {
  const issuer = certificateOf(ca);
  const certId = new pkijs.CertID({
    hashAlgorithm: new pkijs.AlgorithmIdentifier({ algorithmId: hashes[hash], algorithmParams: new asn1js.Null() }),
    issuerNameHash: new asn1js.OctetString({ valueHex: await crypto.subtle.digest(hash, issuer.subject.toSchema().toBER(false)) }),
    issuerKeyHash: new asn1js.OctetString({
      valueHex: await crypto.subtle.digest(
        hash,
        issuer.subjectPublicKeyInfo.subjectPublicKey.valueBlock.valueHexView as Uint8Array<ArrayBuffer>,
      ),
    }),
    serialNumber: asn1js.Integer.fromBigInt(BigInt(`0x${serial}`)),
  });
  const request = new pkijs.OCSPRequest();
  request.tbsRequest.requestList = [new pkijs.Request({ reqCert: certId })];
  if (nonce) {
    const extnValue = new asn1js.OctetString({ valueHex: new Uint8Array(nonce) }).toBER(false);
    request.tbsRequest.requestExtensions = [new pkijs.Extension({ extnID: nonceType, extnValue })];
  }
  return Buffer.from(request.toSchema(true).toBER(false));
}

const statusNames = ['successful', 'malformedRequest', 'internalError', 'tryLater', '', 'sigRequired', 'unauthorized'];

export function statusText(der: Buffer): string | undefined {
  return statusNames[pkijs.OCSPResponse.fromBER(new Uint8Array(der)).responseStatus.valueBlock.valueDec];
}

export interface ReadOcsp {
  der: Buffer;
  status: 'good' | 'revoked' | 'unknown';
  /** RFC 5280's number. */
  reason: number | undefined;
  nonce: Buffer | undefined;
  /** Serial of the signer's certificate. */
  signer: string;
  /** Its certificate is of the CA, and it signed the answer. */
  signedByDelegate: boolean;
}

export async function readOcspResponse(der: Buffer, ca: Buffer): Promise<ReadOcsp> {
  const { responseBytes } = pkijs.OCSPResponse.fromBER(new Uint8Array(der));
  if (!responseBytes) throw new Error(`there is no answer but ${statusText(der)}`);
  const basic = pkijs.BasicOCSPResponse.fromBER(responseBytes.response.valueBlock.valueHexView as Uint8Array<ArrayBuffer>);
  const [single] = basic.tbsResponseData.responses;
  const certStatus = single?.certStatus as { idBlock: { tagNumber: number }; valueBlock: { value?: asn1js.AsnType[] } };
  const tag = certStatus.idBlock.tagNumber;
  const tagged = certStatus.valueBlock.value?.[1] as asn1js.Constructed | undefined;
  const reason = (tagged?.valueBlock.value[0] as asn1js.Enumerated | undefined)?.valueBlock.valueDec;
  const nonce = basic.tbsResponseData.responseExtensions?.find(({ extnID }) => extnID === nonceType);
  const [signer] = basic.certs ?? [];
  const signerDer = Buffer.from(signer!.toSchema().toBER(false));
  // pkijs can judge by the present time alone, so the signature is checked here.
  const certificate = new X509Certificate(signerDer);
  const signature = basic.signature.valueBlock.valueHexView;
  const verified = verify('sha256', basic.tbsResponseData.tbsView, certificate.publicKey, signature);
  const delegated = certificate.verify(new X509Certificate(ca).publicKey);
  return {
    der,
    status: (['good', 'revoked', 'unknown'] as const)[tag]!,
    reason,
    nonce:
      nonce &&
      Buffer.from(
        (asn1js.fromBER(nonce.extnValue.valueBlock.valueHexView as Uint8Array<ArrayBuffer>).result as asn1js.OctetString).valueBlock
          .valueHexView,
      ),
    signer: certificate.serialNumber,
    signedByDelegate: verified && delegated,
  };
}
