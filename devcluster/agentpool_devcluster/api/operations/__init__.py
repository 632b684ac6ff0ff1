"""What requests do to the store: read, create, update, patch, delete, and the subresources.

Everything here is synchronous: one call is one transaction. The HTTP layer calls it and turns the outcome
into a response.
"""
