"""Cards of shipped teachers that a test makes."""

import json
from dataclasses import asdict

from hwkd.models import shipped


def write_card(card: shipped.WeightsCard) -> None:
    """Beside the weights, where `shipped.read_card` looks."""
    path = shipped.WEIGHTS / f"{card.name}.json"
    path.write_text(json.dumps(asdict(card)), encoding="utf-8")
