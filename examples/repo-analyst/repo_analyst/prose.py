"""Summarise prose by choosing its most central sentences.

Markdown is reduced to its sentences; sentences that share words support each other, and a power iteration over that
graph ranks them (TextRank: Mihalcea and Tarau, 2004, "TextRank: Bringing Order into Texts"). The best few are returned
in their original order, with the document's headings and most frequent words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

SENTENCES_RANKED = 160  # the graph is quadratic: of a longer text only the first so many compete
SENTENCES_KEPT = 3
KEYWORDS_KEPT = 8
DAMPING = 0.85  # share of a sentence's weight that comes from its neighbours, as in the paper
ROUNDS = 40  # of the power iteration at most
SETTLED = 1e-5  # largest change of any weight at which the iteration stops
SHORTEST_SENTENCE_WORDS = 5  # fewer words are a label, not a statement

_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_NOISE = re.compile(r"^\s*(?:#{1,6}\s.*|\|.*|[=~^*-]{3,}|\.\. .*|<[^>]*>)\s*$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+", re.MULTILINE)
_MARKS = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)")  # not the underscores inside a name
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_WORD = re.compile(r"[a-z][a-z'-]+")

# Words that carry no subject of their own: they would make every sentence alike.
STOP_WORDS = frozenset(
    "a about after all also an and any are as at be because been before being between both but by can could did do "  # noqa: SIM905 - a list of 120 strings reads worse
    "does each every for from had has have he her here his how i if in into is it its just may me more most my "
    "never no nor not of on one only or other our out over own s same she should so some such t than that the their "
    "them then there these they this those through to too two under until up very was we were what when where which "
    "while who why will with would you your".split()
)


def summarise(text: str) -> dict[str, Any]:
    """Reduce prose to its central sentences, headings and keywords.

    Text without a sentence gives empty lists.
    """
    body = _FENCE.sub("\n\n", text)
    sentences = split_sentences(body)
    words = [significant_words(sentence) for sentence in sentences]
    frequent = Counter(word for each in words for word in each).most_common(KEYWORDS_KEPT)
    return {
        "words": len(re.findall(r"\w+", body)),
        "sentences": len(sentences),
        "headings": [_plain(found) for found in _HEADING.findall(body)][:10],
        "keywords": [word for word, _ in frequent],
        "summary": [sentences[index] for index in _best(words)],
    }


def split_sentences(text: str) -> list[str]:
    """Split Markdown into sentences, without headings, tables, rules and bullets."""
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]|\d+[.)])\s)", _NOISE.sub("\n\n", _FENCE.sub("\n\n", text)))
    found = []
    for paragraph in paragraphs:
        line = " ".join(_plain(_BULLET.sub("", paragraph)).split())
        found += [each for each in _SENTENCE_END.split(line) if len(each.split()) >= SHORTEST_SENTENCE_WORDS]
    return found


def significant_words(sentence: str) -> list[str]:
    """Return a sentence's words in lower case, without those that carry no subject."""
    return [word for word in _WORD.findall(sentence.lower()) if word not in STOP_WORDS]


def _plain(text: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", text)).strip()


def _best(words: list[list[str]]) -> list[int]:
    weights = rank(words[:SENTENCES_RANKED])
    chosen = sorted(range(len(weights)), key=lambda index: (-weights[index], index))[:SENTENCES_KEPT]
    return sorted(chosen)


def rank(sentences: list[list[str]]) -> list[float]:
    """Weigh sentences by the support of the rest.

    A sentence without shared words keeps the least weight.
    """
    links = _links([frozenset(words) for words in sentences])
    strength = [sum(row.values()) for row in links]
    weights = [1.0] * len(sentences)
    for _ in range(ROUNDS):
        fresh = [
            (1 - DAMPING) + DAMPING * sum(weights[other] * link / strength[other] for other, link in row.items())
            for row in links
        ]
        change = max((abs(new - old) for new, old in zip(fresh, weights, strict=True)), default=0.0)
        weights = fresh
        if change < SETTLED:
            break
    return weights


def _links(sentences: list[frozenset[str]]) -> list[dict[int, float]]:
    """Link sentences by shared words, over the logarithm of their lengths, so that length alone is no advantage."""
    links: list[dict[int, float]] = [{} for _ in sentences]
    for left, words in enumerate(sentences):
        for right in range(left + 1, len(sentences)):
            shared = len(words & sentences[right])
            if shared:
                scale = math.log(len(words) + 1) + math.log(len(sentences[right]) + 1)
                links[left][right] = links[right][left] = shared / scale
    return links
