"""Policy files: their shape, their loading, their expressions, and judging by them."""
