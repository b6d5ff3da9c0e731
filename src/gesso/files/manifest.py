"""What a signed picture claims of itself: what made it, and of what. It knows no prompt, no owner and no key."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gesso import __version__

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
US = {"name": "Gesso", "version": __version__}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a picture was made by, and of.

    Attributes:
        weights: those that ran; "none" where an engine needs none.
        references: the SHA-256 of each reference's file, in order.
    """

    model_id: str
    engine: str
    weights: str
    references: tuple[str, ...] = ()

    @property
    def is_trained(self) -> bool:
        """Whether a trained model made it, rather than rules alone."""
        return self.weights != "none"


Sign = Callable[[bytes, Origin], Awaitable[bytes]]
"""Signs a picture's origin into its PNG; raises `Unavailable` when it cannot just now."""


def manifest(origin: Origin) -> dict[str, Any]:
    """What is claimed, as https://spec.c2pa.org has it: an edit of the first reference, or a creation without any.

    References are named by their hashes and never read: what credentials they carry themselves is not carried on.
    """
    references = [_reference(number, sha256) for number, sha256 in enumerate(origin.references, 1)]
    inputs = references[1:] + ([_weights(origin)] if origin.is_trained else [])
    opened = [{"action": "c2pa.opened", "parameters": _of(references[:1])}] if references else []
    made = {
        "action": "c2pa.edited" if references else "c2pa.created",
        "digitalSourceType": IPTC + source_type(origin),
        "softwareAgent": US,
        "parameters": {
            "gesso.model_id": origin.model_id, "gesso.engine": origin.engine, "gesso.weights": origin.weights,
            **_of(inputs),
        },
    }  # fmt: skip
    return {
        "claim_generator_info": [US],
        "format": "image/png",
        "ingredients": references[:1] + inputs,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [*opened, made]}}],
    }


def source_type(origin: Origin) -> str:
    """What kind of picture it is, in IPTC's words: https://cv.iptc.org/newscodes/digitalsourcetype/."""
    if origin.is_trained:
        return "compositeWithTrainedAlgorithmicMedia" if origin.references else "trainedAlgorithmicMedia"
    return ("algorithmicMedia", "algorithmicallyEnhanced", "composite")[min(len(origin.references), 2)]


def _reference(number: int, sha256: str) -> dict[str, Any]:
    relationship = "parentOf" if number == 1 else "inputTo"
    name = f"reference {number}"
    return {"label": name, "title": name, "instance_id": f"sha256:{sha256}", "relationship": relationship}


def _weights(origin: Origin) -> dict[str, Any]:
    kind = [{"type": "c2pa.types.model"}]
    return {"label": "weights", "title": origin.weights, "instance_id": origin.weights, "relationship": "inputTo",
            "data_types": kind}  # fmt: skip


def _of(ingredients: list[dict[str, Any]]) -> dict[str, Any]:
    """The parameter of an action that concerns *ingredients*."""
    return {"ingredientIds": [each["label"] for each in ingredients]} if ingredients else {}
