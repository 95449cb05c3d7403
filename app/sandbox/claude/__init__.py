"""Claude's Messages API: looks at pictures and fills schemas."""
