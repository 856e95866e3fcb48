"""X25519, Ed25519 and XEdDSA in plain big-integer arithmetic: slow, short, and sharing nothing with the library.

Written from RFC 7748, RFC 8032 and the XEdDSA paper. Not constant-time; for tests and fuzzers only.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
"""Affine coordinates."""

IDENTITY: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    """The sum of two points of edwards25519. RFC 8032, section 5.1.4, in affine form: the law is complete."""
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def multiply(scalar: int, point: Point) -> Point:
    """A multiple of a point. RFC 8032, section 5.1.4, in extended coordinates: one inversion, at the end."""
    x, y, z, t = 0, 1, 1, 0
    ax, ay, az, at = point[0], point[1], 1, point[0] * point[1] % P
    while scalar:
        if scalar & 1:
            x, y, z, t = _sum(x, y, z, t, ax, ay, az, at)
        ax, ay, az, at = _sum(ax, ay, az, at, ax, ay, az, at)
        scalar >>= 1
    inverse = pow(z, -1, P)
    return x * inverse % P, y * inverse % P


def _sum(x1: int, y1: int, z1: int, t1: int, x2: int, y2: int, z2: int, t2: int) -> tuple[int, int, int, int]:
    a, b = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2)
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2
    e, f, g, h = (b - a) % P, (d - c) % P, (d + c) % P, (b + a) % P
    return e * f % P, g * h % P, f * g % P, e * h % P


def recover_x(y: int, sign: int) -> int | None:
    """RFC 8032, section 5.1.3."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


_base_y = 4 * pow(5, -1, P) % P
_base_x = recover_x(_base_y, 0)
BASE: Point = (_base_x or 0, _base_y)


def encode(point: Point) -> bytes:
    """The 32 bytes of a point. RFC 8032, section 5.1.2."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """The point in 32 bytes, if they are one, in canonical form."""
    number = int.from_bytes(data, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    x = recover_x(y, sign) if y < P else None
    return None if x is None else (x, y)


def montgomery_u(point: Point) -> bytes:
    """The u-coordinate of an Edwards point. RFC 7748, section 4.1."""
    return ((1 + point[1]) * pow(1 - point[1], -1, P) % P).to_bytes(32, "little")


def edwards(u: bytes, sign: int) -> Point | None:
    """The Edwards point of a u-coordinate with that sign; None on the twist. XEdDSA, section 2.3."""
    number = int.from_bytes(u, "little")
    if number >= P or number == P - 1:
        return None
    y = (number - 1) * pow(number + 1, -1, P) % P
    x = recover_x(y, sign)
    return None if x is None else (x, y)


def clamped(private: bytes) -> int:
    """The scalar of a private key. RFC 7748, section 5."""
    return int.from_bytes(private, "little") & ~7 & (1 << 255) - 1 | 1 << 254


def x25519(private: bytes, u: bytes) -> bytes:
    """The Montgomery ladder of RFC 7748, section 5."""
    scalar, x1 = clamped(private), int.from_bytes(u, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in range(254, -1, -1):
        now = scalar >> bit & 1
        if swap ^ now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def hash_to_scalar(*parts: bytes) -> int:
    """SHA-512 modulo the group order."""
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def sign(private: bytes, message: bytes, nonce: bytes) -> bytes:
    """XEdDSA as the existing clients sign: the sign of A in the top bit of s."""
    scalar = clamped(private)
    public = encode(multiply(scalar, BASE))
    r = hash_to_scalar(b"\xfe" + b"\xff" * 31, private, message, nonce)
    point = encode(multiply(r, BASE))
    s = (r + hash_to_scalar(point, public, message) * scalar) % L
    return point + (s | public[31] >> 7 << 255).to_bytes(32, "little")


def sign_paper(private: bytes, message: bytes, nonce: bytes) -> bytes:
    """XEdDSA as the paper signs, section 2.3 and 3: the private key's sign chosen so that the sign of A is 0."""
    scalar = clamped(private) % L
    if encode(multiply(scalar, BASE))[31] >> 7:
        scalar = -scalar % L
    public = encode(multiply(scalar, BASE))
    r = hash_to_scalar(b"\xfe" + b"\xff" * 31, scalar.to_bytes(32, "little"), message, nonce)
    point = encode(multiply(r, BASE))
    return point + ((r + hash_to_scalar(point, public, message) * scalar) % L).to_bytes(32, "little")


def verifies(u: bytes, message: bytes, signature: bytes) -> bool:
    """XEdDSA, section 3, with s < L instead of s < 2^253, and without keys or nonce points of small order."""
    number = int.from_bytes(signature[32:], "little")
    s, top = number & (1 << 255) - 1, number >> 255
    public, nonce_point = edwards(u, top), decode(signature[:32])
    if public is None or nonce_point is None or s >= L:
        return False
    if IDENTITY in (multiply(8, public), multiply(8, nonce_point)):
        return False
    challenge = hash_to_scalar(signature[:32], encode(public), message)
    return multiply(s, BASE) == add(nonce_point, multiply(challenge, public))


def order_eight_point() -> Point:
    """A point of order 8: L times a point outside the subgroup."""
    for y in range(2, 100):
        x = recover_x(y, 0)
        if x is not None:
            point = multiply(L, (x, y))
            if multiply(4, point) != IDENTITY:
                return point
    raise AssertionError("half of all points are outside the subgroup")
