'use strict';
// IDC-05, IDC-09: keys of another length or type are refused; what older clients need is behind an option, and reported.
// Here public keys of 32 bytes without type byte are taken with a line on the console, and a message that names the
// one-time prekey 0, as the peer writes where there is none, is one without. There is no option.
// Attacker: none; see CTR-06 for what can be done with it.
const { devices, edit, finding, outcome, outer } = require('./lib');

finding('IDC-09', 'untyped keys and the prekey id zero are taken without an option', async () => {
  const [alice, bob, carol] = await devices('alice', 'bob', 'carol');
  const bundle = await bob.bundle({ oneTime: true });
  bundle.preKey.publicKey = bundle.preKey.publicKey.slice(1);
  const taken = await outcome(alice.establish(bob, bundle));
  const read = await outcome(bob.decrypt(alice, await alice.encrypt(bob, 'hello')));

  await carol.establish(bob, bob.bundle());
  const message = await carol.encrypt(bob, 'hello');
  const untyped = edit(message, { baseKey: outer(message, 'baseKey').subarray(1) });
  const from = await outcome(bob.decrypt(carol, untyped));

  const [dave, erin] = await devices('dave', 'erin');
  await dave.establish(erin, erin.bundle());
  const { body } = await dave.encrypt(erin, 'hello');
  const zero = outer({ body }, 'preKeyId') === 0;
  const read0 = await outcome(erin.decrypt(dave, { type: 3, body }));
  return [
    ['a bundle with a one-time prekey of 32 bytes is taken', taken.ok && read.value === 'hello'],
    ['a message with a base key of 32 bytes is read', from.value === 'hello'],
    ['without a one-time prekey the message names prekey 0, and is read', zero && read0.value === 'hello'],
  ];
});
