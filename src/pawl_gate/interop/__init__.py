"""The interop matrix: every implementation with every other, both ways, in every scenario.

A cell is one scenario in a world of two implementations: the first is Alice (and in groups Carol too), the second Bob.
It passes if every operation is carried out, every message is read once, by whoever it is for, and refused when it comes
again, both can talk at the end, and the specification finds nothing wrong with what went over the wire. Where only that
last is missing, it is understood, with findings. Nothing is left out for a failure: what an implementation cannot do it
has declared before.
"""
