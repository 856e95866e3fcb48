'use strict';
// IDC-05, IDC-09: keys of the wrong length or type are refused before any state is built; fallbacks are off by default.
// A key of 32 bytes without the type byte is accepted everywhere, with nothing but a line on the console.
// (Keys that give an all-zero secret are refused: that part of IDC-05 holds.)
const { Device, edit, finding, logged, outcome, outer } = require('./lib');

finding('IDC-05', 'public keys of 32 bytes without the type byte are accepted', async () => {
  const [alice, bob] = [new Device('alice'), new Device('bob')];
  const bundle = bob.bundle();
  bundle.signedPreKey.publicKey = bundle.signedPreKey.publicKey.subarray(1);
  const established = await outcome(alice.establish(bob, bundle));
  const first = await outcome(alice.encrypt(bob, 'hello').then((message) => bob.decrypt(alice, message)));

  const [carol, dave] = [new Device('carol'), new Device('dave')];
  await carol.establish(dave, dave.bundle());
  const message = await carol.encrypt(dave, 'hello');
  const bare = edit(message, { baseKey: outer(message, 'baseKey').subarray(1) });
  const received = await outcome(dave.decrypt(carol, bare));
  return [
    ['a bundle with a signed prekey of 32 bytes makes a session that works', established.ok && first.ok],
    ['a prekey message with a base key of 32 bytes makes a session', received.ok],
    ['no option turned this on; only the console says so', logged.some((line) => line.includes('length 33'))],
  ];
});
