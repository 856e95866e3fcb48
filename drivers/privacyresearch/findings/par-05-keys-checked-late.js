'use strict';
// IDC-09, PAR-05: a bundle is parsed before it is used: a key of the wrong length is refused as such.
// Here a signature is looked at first, over whatever bytes there are, and the key afterwards: a signed prekey with a byte
// too much or without its type byte is refused for its signature; one that was signed with the byte too much, for itself.
// Attacker: none. Nothing of the bundle is kept; only the reason differs.
const { devices, finding, outcome, signal, whole } = require('./lib');

finding('PAR-05', 'the signature of a signed prekey is checked before its form', async () => {
  const [alice, bob] = await devices('alice', 'bob');
  const { Curve } = await signal.default();
  const { pubKey } = bob.signedPreKey.keyPair;
  const long = whole(Buffer.concat([Buffer.from(pubKey), Buffer.from([0])]));
  const offer = async (publicKey, signature) => {
    const bundle = await bob.bundle();
    bundle.signedPreKey = { keyId: 1, publicKey, signature };
    return (await outcome(alice.establish(bob, bundle))).text;
  };
  const unsigned = await offer(long, bob.signedPreKey.signature);
  const untyped = await offer(pubKey.slice(1), bob.signedPreKey.signature);
  const signed = await offer(long, await Curve.async.calculateSignature(bob.identity.privKey, long));
  return [
    ['a key of 34 bytes, not signed: "Invalid signature"', unsigned === 'Error: Invalid signature'],
    ['a key of 32 bytes, not signed: "Invalid signature"', untyped === 'Error: Invalid signature'],
    ['a key of 34 bytes, signed: "Invalid public key"', /Invalid public key/.test(signed)],
    ['nothing was stored', alice.sessions.size === 0 && alice.pins.size === 0],
  ];
});
