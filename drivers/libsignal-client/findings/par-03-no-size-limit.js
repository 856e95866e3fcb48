'use strict';
// PAR-03: size limits hold before anything of that size is allocated. There is none.
// Attacker: network, under a member's name. Whatever its length, a message is copied and run through the signature's
// hash before it is refused; one of a member is decrypted whole.
const { finding, outcome } = require('./lib');

const BYTES = 16 * 1024 * 1024;

finding('PAR-03', 'a message of any size is taken', async ({ Device }) => {
  const [alice, bob] = [new Device('alice'), new Device('bob')];
  await bob.take(alice, await alice.give());
  const message = await alice.send('.'.repeat(BYTES));
  const forged = Buffer.from(message);
  forged[forged.length - 1] ^= 1;
  const refused = await outcome(bob.read(alice, forged));
  const read = await outcome(bob.read(alice, message));
  return [
    ['a forged one of 16 MiB is refused for its signature, not for its size', refused.refused === 'invalid signature detected'],
    ['a true one is read', read.value?.length === BYTES],
  ];
});
