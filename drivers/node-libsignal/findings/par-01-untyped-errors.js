'use strict';
// PAR-01: any byte string is a valid message or a typed refusal, never another exception.
// Sessions and chains are looked up by base64 text in plain objects: six bytes that spell "toString" find a function.
// Other malformed input ends in plain Error or RangeError, which the exported error classes do not cover.
// Attacker: anyone who can deliver bytes. Effect: an exception of the wrong kind, nothing is stored.
const { Device, acquainted, edit, encode, finding, libsignal, outcome } = require('./lib');

finding('PAR-01', 'malformed input raises TypeError, RangeError and plain Error', async () => {
  const [alice, bob] = await acquainted();
  const toString = Buffer.from('toString', 'base64');
  const key = alice.identity.pubKey;
  const prekey = (fields) => ({ type: 3, body: Buffer.concat([Buffer.from([0x33]), encode(fields)]) });
  const { body } = await alice.encrypt(bob, 'x');
  const chain = Buffer.concat([Buffer.from([0x33]), encode([[1, toString], [2, 0], [3, 0], [4, Buffer.alloc(16)]]), Buffer.alloc(8)]);
  const inputs = {
    'a base key that spells toString': [prekey([[2, toString], [3, key], [4, body], [5, 7], [6, 1]]), TypeError],
    'a truncated prekey message': [{ type: 3, body: Buffer.from('330a', 'hex') }, RangeError],
    'an empty prekey message': [{ type: 3, body: Buffer.alloc(0) }, Error],
  };
  const seen = [];
  const before = bob.text;
  for (const [what, [message, kind]] of Object.entries(inputs)) {
    const { error } = await outcome(bob.decrypt(alice, message));
    seen.push([`${what}: ${error && error.name}`, error instanceof kind && !(error instanceof libsignal.SignalError)]);
  }
  // Inside a first message, where the causes are not swallowed: the ratchet key.
  const [carol, dave] = [new Device('carol'), new Device('dave')];
  await carol.establish(dave, dave.bundle());
  const first = await carol.encrypt(dave, 'x');
  const { error } = await outcome(dave.decrypt(carol, edit(first, { message: chain })));
  seen.push([`a ratchet key that spells toString: ${error && error.name}`, error instanceof TypeError]);
  seen.push(['none of them changed the store', bob.text === before]);
  return seen;
});
