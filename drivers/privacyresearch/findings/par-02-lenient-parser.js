'use strict';
// PAR-02: duplicate singular fields, overlong varints and wrong wire types are refused.
// Attacker: anyone in transit. The outer fields of a prekey message carry no MAC, so one message has many accepted
// spellings; filters and duplicate detection by bytes can be evaded. No key is needed.
const { decode, devices, encode, finding, outcome } = require('./lib');

const rewrite = (body, fields) => ({ type: 3, body: Buffer.concat([body.subarray(0, 1), ...fields(decode(body.subarray(1)))]) });
const replace = (number, bytes) => (fields) => fields.map((field) => (field[0] === number ? bytes(field) : encode([field])));

const spellings = {
  'a duplicate field (a wrong identity key first)': (fields) => [encode([[3, Buffer.alloc(33, 5)]]), encode(fields)],
  'an overlong varint': replace(6, ([, value]) => Buffer.from([0x30, 0x80 | value, 0x80, 0x00])),
  'a varint of ten bytes that does not fit 32 bits': replace(5, ([, value]) => Buffer.from([0x28, 0x80 | value, 0x80, 0x80, 0x80, 0xf0, 0xff, 0xff, 0xff, 0xff, 0x7f])),
  'a wrong wire type (fixed32 on a varint field)': replace(6, ([, value]) => Buffer.from([0x35, value])),
};

finding('PAR-02', 'duplicate fields, overlong varints and wrong wire types are accepted', async () => {
  const seen = [];
  for (const [how, fields] of Object.entries(spellings)) {
    const [alice, bob] = await devices('alice', 'bob');
    await alice.establish(bob, bob.bundle());
    const { body } = await alice.encrypt(bob, 'hello');
    const message = rewrite(body, fields);
    seen.push([how, !message.body.equals(body) && (await outcome(bob.decrypt(alice, message))).value === 'hello']);
  }
  return seen;
});
