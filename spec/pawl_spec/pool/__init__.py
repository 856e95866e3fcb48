"""Worker pools: the history of a pool's life (`history`), and what it comes to (`life`)."""
