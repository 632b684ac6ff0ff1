"""Label selectors and node selectors. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def label_selector_matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Return whether a `matchLabels`/`matchExpressions` selector matches these labels.

    An empty selector matches everything; no selector (None) matches nothing.
    """
    if selector is None:
        return False
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression_matches(expression, labels) for expression in selector.get("matchExpressions") or ())


def is_empty(selector: Mapping[str, Any] | None) -> bool:
    """Return whether the selector has no requirements."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def node_selector_matches(terms: Sequence[Mapping[str, Any]], labels: Mapping[str, str], name: str) -> bool:
    """Return whether any of the `nodeSelectorTerms` matches a node with these labels and this name.

    Terms are alternatives; within a term all requirements must hold; an empty term matches no node.
    """
    return any(_term_matches(term, labels, name) for term in terms)


def _term_matches(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    by_field = {"metadata.name": name}
    return all(_expression_matches(expression, labels) for expression in expressions) and all(
        _expression_matches(expression, by_field) for expression in fields
    )


def _expression_matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    present = labels.get(expression["key"])
    values: Sequence[str] = expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return present is not None and present in values
        case "NotIn":
            return present is None or present not in values
        case "Exists":
            return present is not None
        case "DoesNotExist":
            return present is None
        case "Gt" | "Lt" as operator:
            return _compares(present, values, 1 if operator == "Gt" else -1)
        case _:
            return False


def _compares(present: str | None, values: Sequence[str], direction: int) -> bool:
    try:
        return present is not None and (int(present) - int(values[0])) * direction > 0
    except (ValueError, IndexError):
        return False
