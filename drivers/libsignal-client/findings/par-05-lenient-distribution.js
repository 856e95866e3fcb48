'use strict';
// PAR-05: distributions are parsed as strictly as messages. Nothing in them is signed, so that one has many spellings.
// Attacker: a member. Filters and duplicate detection by bytes can be evaded; and two readers that resolve a repeated
// field differently hold different chains, which nobody notices until a message fails.
const { distribution, encode, finding, framed, outcome } = require('./lib');

finding('PAR-05', 'repeated fields, overlong varints and other version bytes are accepted in a distribution', async ({ signal, Device }) => {
  const signingKey = Buffer.from(signal.PrivateKey.generate().getPublicKey().serialize());
  const fields = distribution({ signingKey });
  const spellings = {
    'a repeated field (another chain key first)': framed(encode([[4, Buffer.alloc(32, 9)], ...fields])),
    'an overlong varint': framed(Buffer.concat(fields.map((field) => (field[0] === 3 ? Buffer.from([0x18, 0x80, 0x00]) : encode([field]))))),
    'another low half of the version byte': framed(encode(fields), 0x3f),
  };
  const seen = [];
  for (const [how, data] of Object.entries(spellings)) {
    seen.push([how, (await outcome(new Device('bob').take(new Device('alice'), data))).refused === undefined]);
  }
  return seen;
});
