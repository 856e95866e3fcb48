'use strict';
// CNF-01, PAR-02: a message carries the header that the protocol prescribes, in the canonical form of its encoding.
// A prekey message of a session without one-time prekey names the one-time prekey 0, an id that may belong to a key, and
// the fields of each prekey message come out of order. Receivers that take any order and know of the zero are not harmed.
// Attacker: none.
const { decode, devices, finding, outer } = require('./lib');

finding('CNF-01', 'what the peer writes differs from what is prescribed', async () => {
  const [alice, bob] = await devices('alice', 'bob');
  await alice.establish(bob, bob.bundle());
  const message = await alice.encrypt(bob, 'hello');
  const order = decode(message.body.subarray(1)).map(([number]) => number);
  return [
    ['without a one-time prekey it names prekey 0', outer(message, 'preKeyId') === 0],
    [`the fields come in the order ${order.join(', ')}`, order.join() !== [...order].sort().join()],
  ];
});
