'use strict';
// IDC-03: a bundle whose signed-prekey signature does not verify is refused and changes nothing.
// Attacker: whoever hands out bundles (the server, or someone between it and the client). It keeps the true identity key
// and puts in a signed prekey of its own: forward secrecy of the first messages then rests on the identity key alone.
const { Device, finding, libsignal, outcome } = require('./lib');

finding('IDC-03', 'a bundle with a forged signed-prekey signature is accepted', async () => {
  const seen = [];
  const own = libsignal.curve.generateKeyPair();
  const forgeries = [
    ['a signature with one bit flipped', (bundle) => { bundle.signedPreKey.signature = Buffer.from(bundle.signedPreKey.signature); bundle.signedPreKey.signature[5] ^= 1; }],
    ['a signature of 64 zero bytes', (bundle) => { bundle.signedPreKey.signature = Buffer.alloc(64); }],
    ["the attacker's own signed prekey under the victim's signature", (bundle) => { bundle.signedPreKey.publicKey = own.pubKey; }],
  ];
  for (const [what, forge] of forgeries) {
    const [alice, bob] = [new Device('alice'), new Device('bob')];
    const bundle = bob.bundle();
    forge(bundle);
    const verifies = libsignal.curve.verifySignature(bundle.identityKey, bundle.signedPreKey.publicKey, bundle.signedPreKey.signature);
    const established = await outcome(alice.establish(bob, bundle));
    const sent = await outcome(alice.encrypt(bob, 'hello'));
    seen.push([`${what}: does not verify, yet a session is made and encrypts`, !verifies && established.ok && sent.ok]);
  }
  return seen;
});
