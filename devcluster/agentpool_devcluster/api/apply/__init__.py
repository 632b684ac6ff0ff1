"""Server-side apply and the ownership of fields (managedFields): sets, comparison, merge, conflicts."""
