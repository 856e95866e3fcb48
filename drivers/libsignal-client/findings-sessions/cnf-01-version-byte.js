'use strict';
// CNF-01: a message carries the header that the protocol prescribes. Of version 3 the peer writes 0x34: version 3 by one
// that could do 4. Clients that know of versions up to 3 alone, such as npm libsignal, refuse that. Attacker: none.
const { finding } = require('./lib');

finding('CNF-01', 'the version byte of a message of version 3 is 0x34', async ({ pair }) => {
  const [alice, bob] = pair();
  const first = await alice.send(bob, 'hello');
  const read = await bob.read(alice, first);
  const reply = await bob.send(alice, 'hello');
  return [
    ['a prekey message begins with 0x34', first.prekey && first.data[0] === 0x34],
    ['it is read', read === 'hello'],
    ['the reply begins with 0x34', !reply.prekey && reply.data[0] === 0x34],
  ];
});
