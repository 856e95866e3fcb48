"""Groups: sender keys. One message for all members, on a chain that each of them was given."""
