"""Schemas, generated code and codecs that validate: bytes in, a frozen value or a typed refusal out."""
