'use strict';
/* Protobufs of varints and byte strings, as far as drivers and findings in Node need them. Nothing but Node itself. */

function varint(number) {
  const out = [];
  for (; number > 127; number = Math.floor(number / 128)) out.push((number % 128) | 128);
  return Buffer.from([...out, number]);
}

/** Fields, pairs of number and value, as bytes; a field without value is left out. */
const encode = (list) => Buffer.concat(list.filter(([, value]) => value != null).flatMap(([number, value]) => (typeof value === 'number'
  ? [varint(number * 8), varint(value)]
  : [varint(number * 8 + 2), varint(value.length), value])));

/** The fields in the order on the wire, as pairs of number and value; null for other bytes. */
function fields(data) {
  const found = [];
  let at = 0;
  const varint = () => {
    for (let value = 0, factor = 1; at < data.length; factor *= 128) {
      const byte = data[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    return NaN;
  };
  while (at < data.length) {
    const tag = varint();
    let value = varint();
    if (tag % 8 === 2) {
      const end = at + value;
      value = data.subarray(at, end);
      at = end;
    } else if (tag % 8 !== 0) return null;
    if (Number.isNaN(value) || at > data.length || !(tag >= 8)) return null;
    found.push([Math.floor(tag / 8), value]);
  }
  return found;
}

/** The values of a field. */
const all = (list, wanted) => list.filter(([number]) => number === wanted).map(([, value]) => value);

module.exports = { all, encode, fields, varint };
