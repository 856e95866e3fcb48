'use strict';
// PAR-03: size limits hold before anything of that size is allocated.
// There is none: whatever its length, a message is copied, parsed and run through the MAC before it is refused, and is
// read if it is genuine. Attacker: anyone in transit, as much as the transport lets through; no key is needed.
// A way round for applications: refuse what is longer than any honest message before the library gets it.
const { acquainted, decode, devices, encode, finding, outcome } = require('./lib');

const SIZE = 2 * 1024 * 1024;

finding('PAR-03', 'a message of any size is taken', async () => {
  const [alice, bob] = await acquainted();
  const honest = await alice.encrypt(bob, 'hello');
  const fields = decode(honest.body.subarray(1, -8)).map(([number, value]) => [number, number === 4 ? Buffer.alloc(SIZE) : value]);
  const blown = { type: honest.type, body: Buffer.concat([honest.body.subarray(0, 1), encode(fields), honest.body.subarray(-8)]) };
  const refused = await outcome(bob.decrypt(alice, blown));

  const long = 'x'.repeat(SIZE);
  const [carol, dave] = await devices('carol', 'dave');
  await carol.establish(dave, dave.bundle());
  const read = await outcome(carol.encrypt(dave, long).then((message) => dave.decrypt(carol, message)));
  return [
    ['forged bytes of 2 MiB are refused only by the MAC over all of them', refused.error?.message === 'Bad MAC'],
    ['a genuine message of 2 MiB is read', read.value === long],
  ];
});
