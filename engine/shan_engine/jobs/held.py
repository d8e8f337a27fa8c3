"""What a job's journal holds of the job as it was started: its identity, its plan, and the captions to score again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from shan_engine.base.manifests import demand, digest
from shan_engine.jobs.journal import Journal, damaged_journal
from shan_engine.jobs.plan import Plan

_SEAL = "digest"


@dataclass(frozen=True)
class HeldJob:
    """A job as it was started; `lost` are numbers of captions. Journals of earlier versions are not `sealed`."""

    identity: dict[str, Any]
    plan: Plan
    lost: tuple[int, ...]
    sealed: bool = True

    def as_facts(self) -> dict[str, Any]:
        """The journal's facts, with a digest of them."""
        facts = {"identity": self.identity, "plan": asdict(self.plan), "lost": self.lost}
        return {**facts, _SEAL: digest(facts)}

    @classmethod
    def read(cls, journal: Journal) -> HeldJob:
        """Of a journal. Raises InputError where its facts are not those that were written."""
        facts = journal.facts()
        try:
            written = {name: facts[name] for name in ("identity", "plan", "lost")}
            demand(facts.get(_SEAL, digest(written)) == digest(written), "its facts are not those that were written")
            sizes = [written["plan"].get(field.name) for field in fields(Plan)]
            demand(all(type(size) is int and size > 0 for size in sizes), "its plan has no sizes")
            lost = tuple(written["lost"])
            demand(all(type(number) is int and number >= 0 for number in lost), "its captions have no numbers")
            demand(type(written["identity"]) is dict, "it has no identity")
            return cls(written["identity"], Plan(*sizes), lost, _SEAL in facts)
        except KeyError as error:
            raise damaged_journal(journal.path, f"it has no {error.args[0]}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise damaged_journal(journal.path, str(error)) from error

    def refuse_changed(self, journal: Journal) -> None:
        """Raise InputError where the journal's captions are not those that were written."""
        if journal.queries_digest() != self.identity.get("captions"):
            raise damaged_journal(journal.path, "its captions are not those that were written")
