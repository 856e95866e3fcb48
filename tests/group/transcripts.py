"""Group traffic that the peers recorded, keys included: `group_transcripts.json`, of which vectors are made as well.

Made with the programs that each names, by `create`, eight times `encrypt` and once more `create` in between. Their
chains are thrown away. Nothing of it comes from this library.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

from pawl import GroupLayout

TRANSCRIPTS: Final[dict[str, dict[str, Any]]] = json.loads(
    (resources.files("pawl_gate.vectors.crafted") / "group_transcripts.json").read_text("utf-8")
)
LAYOUTS: Final = {name: GroupLayout(each["layout"]) for name, each in TRANSCRIPTS.items()}
