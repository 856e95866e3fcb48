"""The specification: what must hold. It imports nothing but the standard library."""
