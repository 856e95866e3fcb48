'use strict';
// IDC-05: public keys that give an all-zero shared secret are refused.
// They are not: whoever says that his identity and his base key are zero shares the secret "zero" with everybody, and
// nobody's private key belongs to them. The receiver's signed prekey is public.
// Attacker: anyone who knows a signed prekey. Under a new name the zero key is pinned.
const crypto = require('node:crypto');
const { devices, encode, finding, hex, outcome, signal, whole } = require('./lib');

const hkdf = (secret, salt, info, bytes) => Buffer.from(crypto.hkdfSync('sha256', secret, salt, info, bytes));
const hmac = (key, ...data) => crypto.createHmac('sha256', key).update(Buffer.concat(data)).digest();
const ZERO = Buffer.concat([Buffer.from([5]), Buffer.alloc(32)]);

/** A first message for a device, under the identity of zeros: written down from the public protocol. */
async function message(device, text) {
  const { Curve } = await signal.default();
  const signed = device.signedPreKey.keyPair.pubKey;
  const root = hkdf(Buffer.concat([Buffer.alloc(32, 0xff), Buffer.alloc(96)]), Buffer.alloc(32), 'WhisperText', 64).subarray(0, 32);
  const ratchet = await signal.KeyHelper.generateIdentityKeyPair();
  const shared = Buffer.from(await Curve.async.calculateAgreement(signed, ratchet.privKey));
  const chain = hkdf(shared, root, 'WhisperRatchet', 64).subarray(32);
  const keys = hkdf(hmac(chain, Buffer.from([1])), Buffer.alloc(32), 'WhisperMessageKeys', 80);
  const cipher = crypto.createCipheriv('aes-256-cbc', keys.subarray(0, 32), keys.subarray(64));
  const inner = Buffer.concat([
    Buffer.from([0x33]),
    encode([[1, Buffer.from(ratchet.pubKey)], [2, 0], [3, 0], [4, Buffer.concat([cipher.update(text), cipher.final()])]]),
  ]);
  const mac = hmac(keys.subarray(32, 64), ZERO, Buffer.from(device.identity.pubKey), inner).subarray(0, 8);
  const outer = encode([[2, ZERO], [3, ZERO], [4, Buffer.concat([inner, mac])], [5, 7], [6, 1]]);
  return { type: 3, body: Buffer.concat([Buffer.from([0x33]), outer]) };
}

finding('IDC-05', 'keys of small order are taken', async () => {
  const [bob, carol] = await devices('bob', 'carol');
  const read = await outcome(bob.decrypt(carol, await message(bob, 'from nobody')));
  const bundle = await bob.bundle({ oneTime: true });
  bundle.preKey.publicKey = whole(ZERO);
  const taken = await outcome(carol.establish(bob, bundle));
  return [
    ['a first message under an identity and a base key of zeros is read', read.value === 'from nobody'],
    ['and that identity is pinned', bob.pins.get('carol') === hex(ZERO)],
    ['a bundle with a one-time prekey of zeros is taken', taken.ok],
  ];
});
