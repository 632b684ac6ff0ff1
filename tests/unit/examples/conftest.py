"""Makes the example importable, as the worker does by starting in the example's directory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "repo-analyst"))
