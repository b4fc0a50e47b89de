import { createHash } from 'node:crypto';
import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';
import type { Pkcs12Contents } from './types.ts';

const bagIds = { certificate: '1.2.840.113549.1.12.10.1.3', shroudedKey: '1.2.840.113549.1.12.10.1.2' };
const attributeIds = { friendlyName: '1.2.840.113549.1.9.20', localKeyId: '1.2.840.113549.1.9.21' };
const iterations = 10_000;

/** PKCS#12 of any key and chain: key and certificates under AES-256-CBC with PBKDF2 and HMAC-SHA-256, integrity by HMAC-SHA-256. */
export async function packWithPkijs({ chain, privateKey, password, friendlyName }: Pkcs12Contents): Promise<Buffer> {
  const encryption = {
    password: arrayBuffer(Buffer.from(password, 'utf8')),
    contentEncryptionAlgorithm: { name: 'AES-CBC', length: 256 },
    hmacHashAlgorithm: 'SHA-256',
    iterationCount: iterations,
  };
  const attributes = bagAttributes(
    friendlyName,
    createHash('sha1')
      .update(chain[0] as Buffer)
      .digest(),
  );
  const keyBag = new pkijs.PKCS8ShroudedKeyBag({
    parsedValue: pkijs.PrivateKeyInfo.fromBER(arrayBuffer(privateKey.export({ type: 'pkcs8', format: 'der' }))),
  });
  await keyBag.makeInternalValues(encryption);
  const keyBags = [new pkijs.SafeBag({ bagId: bagIds.shroudedKey, bagValue: keyBag, bagAttributes: attributes })];
  const certificateBags = chain.map((der, index) => certificateBag(der, index === 0 ? attributes : undefined));
  const safe = new pkijs.AuthenticatedSafe({
    parsedValue: {
      safeContents: [
        { privacyMode: 0, value: new pkijs.SafeContents({ safeBags: keyBags }) },
        { privacyMode: 1, value: new pkijs.SafeContents({ safeBags: certificateBags }) },
      ],
    },
  });
  await safe.makeInternalValues({ safeContents: [{}, encryption] });
  const pfx = new pkijs.PFX({ parsedValue: { integrityMode: 0, authenticatedSafe: safe } });
  await pfx.makeInternalValues({ password: encryption.password, iterations, pbkdf2HashAlgorithm: 'SHA-256', hmacHashAlgorithm: 'SHA-256' });
  return Buffer.from(pfx.toSchema().toBER(false));
}

function certificateBag(der: Buffer, bagAttributes: pkijs.Attribute[] | undefined): pkijs.SafeBag {
  const bagValue = new pkijs.CertBag({ parsedValue: pkijs.Certificate.fromBER(arrayBuffer(der)) });
  return new pkijs.SafeBag({ bagId: bagIds.certificate, bagValue, ...(bagAttributes === undefined ? {} : { bagAttributes }) });
}

function bagAttributes(friendlyName: string, localKeyId: Buffer): pkijs.Attribute[] {
  return [
    new pkijs.Attribute({ type: attributeIds.friendlyName, values: [new asn1js.BmpString({ value: friendlyName })] }),
    new pkijs.Attribute({ type: attributeIds.localKeyId, values: [new asn1js.OctetString({ valueHex: arrayBuffer(localKeyId) })] }),
  ];
}

/** An ArrayBuffer of just these bytes: a Buffer may share a larger one. */
function arrayBuffer(bytes: Buffer): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
