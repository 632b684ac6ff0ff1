"""Summarising prose."""

from hypothesis import given, strategies
from repo_analyst.prose import SENTENCES_KEPT, rank, split_sentences, summarise

TEXT = """# The queue

The queue keeps every job in a stream until a worker claims the job.
A worker that claims a job holds a lease on it.
When the lease of a worker expires, the queue gives the job to another worker.
Bananas are yellow and curved fruit.

- A job that fails is retried by the queue until its attempts are over.

| a | table |
```python
print("never a sentence. Never Ever a sentence, in any case.")
```
See [the worker page](worker.md) for how a worker drains its jobs and leaves the queue.
"""


def test_the_central_sentences_are_chosen_in_their_own_order():
    """Sentences that share words with other sentences are kept; unrelated sentences are not."""
    found = summarise(TEXT)
    assert len(found["summary"]) == SENTENCES_KEPT
    assert not any("Bananas" in sentence for sentence in found["summary"])
    assert [TEXT.replace("\n", " ").find(each[:20]) for each in found["summary"]] == sorted(
        TEXT.replace("\n", " ").find(each[:20]) for each in found["summary"]
    )
    assert found["headings"] == ["The queue"]
    assert {"queue", "worker", "job"} <= set(found["keywords"])


def test_code_tables_and_headings_are_no_sentences():
    """Markup of Markdown is left out, and links are reduced to their text."""
    sentences = split_sentences(TEXT)
    assert "See the worker page for how a worker drains its jobs and leaves the queue." in sentences
    assert not any("|" in sentence or "#" in sentence for sentence in sentences)


def test_a_lone_sentence_gets_the_least_weight():
    """Ranking follows shared words."""
    weights = rank([["queue", "job"], ["queue", "worker", "job"], ["job", "worker"], ["banana"]])
    assert min(weights) == weights[3]


@given(strategies.text())
def test_any_text_is_summarised(text):
    """Every text has a summary, and each sentence of the summary is in the text."""
    found = summarise(text)
    assert len(found["summary"]) <= min(SENTENCES_KEPT, found["sentences"])
