"""Server-side printing: what kubectl shows in columns."""
