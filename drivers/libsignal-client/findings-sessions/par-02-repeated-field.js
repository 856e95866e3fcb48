'use strict';
// PAR-02: repeated singular fields, overlong varints and wrong wire types are refused.
// Outside, in a prekey message, nothing is authenticated, so one message has many accepted spellings. Attacker: anyone in
// transit; filters and the detection of repeats by bytes can be evaded. What is read stays the same.
const { encode, finding, outcome } = require('./lib');

const insert = (bytes) => ({ prekey, data }) => ({ prekey, data: Buffer.concat([data.subarray(0, 1), bytes, data.subarray(1)]) });

finding('PAR-02', 'a field repeated outside and an overlong varint are taken', async ({ pair }) => {
  const seen = [];
  const spellings = {
    'a registration id before the true one': insert(encode([[5, 4711]])),
    'the same, as an overlong varint': insert(Buffer.from([5 * 8, 0x81, 0x80, 0x00])),
  };
  for (const [how, changed] of Object.entries(spellings)) {
    const [alice, bob] = pair();
    const message = await alice.send(bob, 'hello');
    seen.push([how, (await outcome(bob.read(alice, changed(message)))).value === 'hello']);
  }
  return seen;
});
