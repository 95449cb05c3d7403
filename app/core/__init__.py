"""Values that every room may use. Nothing in here knows a framework, a database or a vendor."""
