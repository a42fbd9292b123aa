"""What the command line does, as functions of files: each reads, works, writes, and returns what it wrote."""
