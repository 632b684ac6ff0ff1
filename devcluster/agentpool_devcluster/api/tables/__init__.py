"""Server-side printing: the columns of kubectl."""
