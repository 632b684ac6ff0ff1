"""The three patch formats that need no ownership: JSON patch, merge patch, strategic merge patch."""
