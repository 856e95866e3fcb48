'use strict';
// KEY-03: a first message that names a one-time prekey which is not there is refused.
// Here it is read as if it named none. Whoever makes it decides whether the receiver's one-time prekey enters the key
// agreement, whatever it names.
// Attacker: anyone in transit can write the id into a message that was made without one-time prekey.
const { devices, edit, finding, outcome, outer } = require('./lib');

/** A prekey message with another prekey id; nobody's key is needed for that. */
const naming = (message, id) => edit(message, { preKeyId: id });

finding('KEY-03', 'a prekey that is not there is taken for none', async () => {
  const [alice, bob] = await devices('alice', 'bob');
  await alice.establish(bob, bob.bundle());
  const message = await alice.encrypt(bob, 'hello');
  const read = await outcome(bob.decrypt(alice, naming(message, 4711)));
  return [
    ['the message names no prekey but 0', outer(message, 'preKeyId') === 0],
    ['it names prekey 4711, which nobody made, and is read', read.value === 'hello'],
  ];
});
