"""Group traffic that the peers recorded, keys included: transcripts.json.

Made with the programs that each names, by `create`, eight times `encrypt` and once more `create` in between. Their
chains are thrown away. Nothing of it comes from this library.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pawl import GroupLayout

TRANSCRIPTS: Final[dict[str, dict[str, Any]]] = json.loads(Path(__file__).with_name("transcripts.json").read_text())
LAYOUTS: Final = {name: GroupLayout(each["layout"]) for name, each in TRANSCRIPTS.items()}
