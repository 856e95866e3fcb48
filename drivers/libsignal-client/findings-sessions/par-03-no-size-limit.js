'use strict';
// PAR-03: size limits hold before anything of that size is allocated.
// There is none: a limit is left to the transport. Attacker: anyone in transit, as much as that lets through.
const { finding, outcome } = require('./lib');

const SIZE = 8 * 1024 * 1024;

finding('PAR-03', 'a message of any size is taken', async ({ acquainted }) => {
  const [alice, bob] = await acquainted();
  const long = 'x'.repeat(SIZE);
  const message = await alice.send(bob, long);
  const forged = { ...message, data: Buffer.concat([message.data.subarray(0, -1), Buffer.from([message.data.at(-1) ^ 1])]) };
  const refused = await outcome(bob.read(alice, forged));
  const read = await outcome(bob.read(alice, message));
  return [
    ['a forged message of 8 MiB is refused only once it was parsed and its MAC was made', refused.refused !== undefined && !/size|large|long/.test(refused.refused)],
    ['a genuine one is read', read.value === long],
  ];
});
