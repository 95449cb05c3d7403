"""The only place that imports a vendor's SDK. Each adapter imports its own where it is built: a process pays for
what it uses, and the command line for nothing."""
