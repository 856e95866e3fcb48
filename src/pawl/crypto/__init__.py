"""Keys, signatures, derivation and the cipher: the only room that touches cryptographic packages."""
