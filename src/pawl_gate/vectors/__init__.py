"""Session vectors: written from traces, confirmed by the model and by a second implementation, run on any target.

`cases` and `crafted` say what is tested, `record` plays it on Pawl and writes down the bytes, `generate` puts the files
together, `check` runs them on a target. The format is `pawl_spec.vectors`.
"""
